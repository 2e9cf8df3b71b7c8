"""`python -m bench.viewing.page_process HOME`: serves the status page of a home folder in a process of its own."""

import os
import sys
import time

from surefoot.settings import read_settings
from surefoot.status_page.page_server import serve_status_page

if __name__ == "__main__":
    os.environ["SUREFOOT_HOME"] = sys.argv[1]
    with serve_status_page(read_settings()):
        while True:
            time.sleep(1.0)
