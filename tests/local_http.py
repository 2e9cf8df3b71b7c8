"""HTTP to servers on this machine, a new connection for each request.

The functions are those of `httpx`, which reads a file of certificates at every call: 10 ms of a processor, and no
server here has a certificate.
"""

import httpx

_CLIENT = httpx.Client(trust_env=False, timeout=60.0, limits=httpx.Limits(max_keepalive_connections=0))

request, get, post, put = _CLIENT.request, _CLIENT.get, _CLIENT.post, _CLIENT.put
