"""The live Pareto explorer: a Streamlit page over `genptq_core`. It never imports torch."""
