"""A gRPC service of bytes: one answer, a stream of them, a stream both ways, and an error."""
import sys
from concurrent import futures

import grpc


def upper(request, context):
    if request == b"fail":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
    return request.upper()


handlers = grpc.method_handlers_generic_handler("test.Echo", {
    "One": grpc.unary_unary_rpc_method_handler(upper),
    "Many": grpc.unary_stream_rpc_method_handler(lambda request, _: (request + b"%d" % n for n in range(100))),
    "Chat": grpc.stream_stream_rpc_method_handler(lambda requests, _: (request.upper() for request in requests)),
})
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((handlers,))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
