"""Workers: processes and machines that share the work, and what each loads for itself."""
