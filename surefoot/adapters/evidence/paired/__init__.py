"""Sum what two versions answered to the same requests, by slice and block."""
