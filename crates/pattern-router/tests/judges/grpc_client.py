"""Asks grpc_server.py by way of a router: grpc_client.py ROUTER-ADDRESS NAME."""
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.default_authority", sys.argv[2])])
one, many = channel.unary_unary("/test.Echo/One"), channel.unary_stream("/test.Echo/Many")
chat = channel.stream_stream("/test.Echo/Chat")
assert one(b"hello", timeout=30) == b"HELLO"
assert [*many(b"n", timeout=30)] == [b"n%d" % n for n in range(100)]
assert [*chat(iter([b"a", b"b" * 200_000, b"c"]), timeout=30)] == [b"A", b"B" * 200_000, b"C"]
try:
    one(b"fail", timeout=30)
    raise SystemExit("no error came")
except grpc.RpcError as error:
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing"), error
calls = [one.future(b"%d" % n, timeout=30) for n in range(200)]
assert [call.result() for call in calls] == [b"%d" % n for n in range(200)]
print("all right")
