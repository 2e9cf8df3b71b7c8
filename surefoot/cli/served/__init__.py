"""Define the commands about served versions: service counts, exposure, champion watch and tables."""
