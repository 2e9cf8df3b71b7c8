"""Write the log of requests: records, their files, and what policies leave out."""
