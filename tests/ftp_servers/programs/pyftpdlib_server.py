"""pyftpdlib as a server that has no MLSD and lists as Windows does: PORT ROOT USER PASSWORD [CERTIFICATE]."""

import os
import stat
import sys
import time

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.filesystems import AbstractedFS
from pyftpdlib.servers import FTPServer


class WindowsListing(AbstractedFS):
    """Lines as IIS writes them."""

    def format_list(self, basedir, listing, ignore_err=True):
        for name in listing:
            status = self.lstat(os.path.join(basedir, name))
            when = time.strftime("%m-%d-%y  %I:%M%p", time.gmtime(status.st_mtime))
            is_directory = stat.S_ISDIR(status.st_mode)
            size = f"{'<DIR>':<14}      " if is_directory else f"{status.st_size:>20}"
            yield f"{when} {size} {name}\r\n".encode(self.cmd_channel.encoding)


port, root, user, password, *certificate = sys.argv[1:]
if certificate:
    from pyftpdlib.handlers import TLS_FTPHandler as Handler

    Handler.certfile = certificate[0]
    Handler.tls_control_required = True
    Handler.tls_data_required = True
else:
    from pyftpdlib.handlers import FTPHandler as Handler

Handler.authorizer = DummyAuthorizer()
Handler.authorizer.add_user(user, password, root, perm="elradfmwMT")
Handler.abstracted_fs = WindowsListing
Handler.use_gmt_times = True
Handler.proto_cmds = {verb: what for verb, what in Handler.proto_cmds.items() if verb not in ("MLSD", "MLST")}
FTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
