"""The charts: figures as plain data, and the component that draws them in the browser."""
