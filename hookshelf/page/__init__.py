"""The archive as pages for a browser on this machine: read-only, over `hookshelf.Archive` alone.

    server.py      binds to loopback, serves until it is interrupted
    access.py       who may look: token, cookie, Host, Origin, GET; the headers of every response
    site.py        the WSGI application: routes, errors, exports; every view is a module in views/
    question.py    what a URL asks for; what is not understood is refused
    figures.py     counts that take longer than a page may, made in the background
    charts.py      bars, as SVG
    pretty.py      JSON with line breaks, and no digit changed

Adding a page is a module in views/ with a VIEW, and its template.
"""
