"""Control the engines that split live traffic."""
