# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs inside the container: `docker run --network=none`, which is in a package of its own.

Arguments: name, restart policy or `rm`.  The Engine API: docs.docker.com/reference/api/engine.
"""

import http.client
import io
import json
import socket
import sys
import tarfile

IMAGE = "localhost/busybox:1"
COMMAND = ["/busybox", "sh", "-c", "echo started >> /starts; exec /busybox sleep 100000"]


def ask(path: str, body: bytes, kind: str) -> bytes:
    connection = http.client.HTTPConnection("docker", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect("/run/docker.sock")
    connection.request("POST", path, body, {"Content-Type": kind})
    response = connection.getresponse()
    data = response.read()
    if response.status >= 400:
        sys.exit(f"{path}: {data.decode()}")
    return data


def main(name: str, policy: str) -> None:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add("/usr/bin/busybox", "busybox")
    repository, tag = IMAGE.rsplit(":", 1)
    create = f"/images/create?fromSrc=-&repo={repository}&tag={tag}"
    ask(create, layer.getvalue(), "application/x-tar")
    host = {"NetworkMode": "none", "AutoRemove": policy == "rm"}
    if policy != "rm":
        host["RestartPolicy"] = {"Name": policy}
    container = {"Image": IMAGE, "Cmd": COMMAND, "StopTimeout": 1, "HostConfig": host}
    ask(f"/containers/create?name={name}", json.dumps(container).encode(), "application/json")
    ask(f"/containers/{name}/start", b"", "application/json")


if __name__ == "__main__":
    main(*sys.argv[1:])
