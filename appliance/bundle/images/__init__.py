"""Container images from Debian packages and hash-locked wheels, byte for byte repeatable.

``debs`` lets mmdebstrap resolve and fetch packages (apt checks the signatures), ``wheels`` fetches
the part of a lock that an image needs, ``tree`` is the file tree as values, ``rules`` refuses what
no image may hold, ``oci`` writes and proves image archives, ``build`` puts them together, and
``engine`` gives a proven archive to Docker. ``python -m appliance.bundle.images`` is the command.

What the bundle takes, under the output folder: ``NAME.oci.tar`` (an OCI image layout that
``docker load`` also takes) and ``NAME.json`` (digests, packages and wheels for the SBOM).
"""
