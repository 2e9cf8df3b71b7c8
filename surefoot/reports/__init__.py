"""What people look at: reports and plots."""
