"""Draw what people look at: pages and plots."""
