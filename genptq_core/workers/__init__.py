"""Workers: processes and machines that run calls in parallel, and what each of them loads."""
