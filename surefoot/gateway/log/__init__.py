"""What is written of each request, and what is left out."""
