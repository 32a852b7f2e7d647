#!/usr/bin/env python3
"""What gRPC libraries of others make of a node: errors, compression, reflection, health.

    python libraries.py HOST:PORT

The same compare-and-set is refused to grpcio with grpcio-status, to grpclib and to connectrpc; each must
show its code, its text and its details, decoded. Needs requirements-libraries.txt.
"""

import asyncio
import sys

import grpc
from connectrpc.client import ConnectClientSync
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_binary_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from google.protobuf import descriptor_pool, message_factory, symbol_database
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from pyqwest import HTTPVersion, SyncClient, SyncHTTPTransport

from quintet import Quintet, check

TEXT = "; read it again"
SERVED = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "quintet.v1.Admin",
    "quintet.v1.KV",
}


class Stale:
    """A compare-and-set that is refused, and what must be known of the refusal."""

    def __init__(self, db):
        # grpclib looks for the types of details in the default pool, among those with a class.
        self.pool = descriptor_pool.Default()
        self.pool.AddSerializedFile(db.service.file.serialized_pb)
        symbol_database.Default().RegisterMessage(self.type("Error"))
        written = db.call("Put", key=b"libraries/key", value=b"first")
        self.stands = db.call("Put", key=b"libraries/key", value=b"second").version
        self.request = self.type("PutRequest")(
            key=b"libraries/key",
            value=b"third",
            condition=self.type("Condition")(version=written.version),
        )

    def type(self, name):
        found = self.pool.FindMessageTypeByName(f"quintet.v1.{name}")
        return message_factory.GetMessageClass(found)

    def decode(self, name, value):
        """A detail by its full name, which is what an `Any` says."""
        if name == "google.rpc.ErrorInfo":
            return error_details_pb2.ErrorInfo.FromString(value)
        check(name == "quintet.v1.Error", f"{name} is a detail that is known")
        return self.type("Error").FromString(value)

    def check(self, library, text, details):
        check(text.endswith(TEXT), f"{library} shows the text")
        info, error = details
        told = (info.reason, info.domain, info.metadata["retry"])
        check(told == ("CONFLICT", "quintet.v1", "NEVER"), f"{library} shows google.rpc.ErrorInfo")
        stands = (error.current.version, error.current.value, error.message)
        check(stands == (self.stands, b"second", text), f"{library} shows quintet.v1.Error")


def with_grpcio(address, stale, compression):
    channel = grpc.insecure_channel(address, compression=compression)
    put = channel.unary_unary(
        "/quintet.v1.KV/Put",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=stale.type("PutResponse").FromString,
    )
    try:
        put(stale.request, timeout=20)
        check(False, "grpcio is refused")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.FAILED_PRECONDITION, "grpcio shows the code")
        status = rpc_status.from_call(error)
        details = [stale.decode(any.TypeName(), any.value) for any in status.details]
        stale.check(f"grpcio-status ({compression.name})", error.details(), details)


async def with_grpclib(address, stale):
    host, port = address.rsplit(":", 1)
    async with Channel(host, int(port)) as channel:
        put = UnaryUnaryMethod(
            channel, "/quintet.v1.KV/Put", stale.type("PutRequest"), stale.type("PutResponse")
        )
        try:
            await put(stale.request, timeout=20)
            check(False, "grpclib is refused")
        except GRPCError as error:
            check(error.status == Status.FAILED_PRECONDITION, "grpclib shows the code")
            stale.check("grpclib", error.message, error.details)


def with_connectrpc(address, stale):
    # It compresses its requests unless it is told not to.
    client = ConnectClientSync(
        f"http://{address}",
        codec=google_protobuf_binary_codec(),
        protocol=ProtocolType.GRPC,
        # Without TLS it speaks HTTP/1 unless it is told otherwise.
        http_client=SyncClient(SyncHTTPTransport(http_version=HTTPVersion.HTTP2)),
    )
    put = MethodInfo(
        stream_type=StreamType.UNARY,
        name="Put",
        service_name="quintet.v1.KV",
        input=stale.type("PutRequest"),
        output=stale.type("PutResponse"),
        idempotency_level=IdempotencyLevel.UNKNOWN,
    )
    try:
        client.execute_unary(request=stale.request, method=put, timeout_ms=20_000)
        check(False, "connectrpc is refused")
    except ConnectError as error:
        check(error.code == Code.FAILED_PRECONDITION, "connectrpc shows the code")
        details = [stale.decode(d.type_name, d.message_bytes) for d in error.details]
        stale.check("connectrpc", error.message, details)


def health(db):
    found = db.pool.FindServiceByName("grpc.health.v1.Health")
    asks = message_factory.GetMessageClass(found.methods_by_name["Check"].input_type)
    says = message_factory.GetMessageClass(found.methods_by_name["Check"].output_type)
    call = dict(
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=says.FromString,
    )
    ask = db.channel.unary_unary("/grpc.health.v1.Health/Check", **call)
    for service in sorted(SERVED | {""}):
        check(ask(asks(service=service)).status == 1, f"{service or 'the node'} is SERVING")
    try:
        ask(asks(service="quintet.v1.Nothing"))
        check(False, "health knows what is not served")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.NOT_FOUND, "what is not served is NOT_FOUND")
    watch = db.channel.unary_stream("/grpc.health.v1.Health/Watch", **call)
    watched = watch(asks(service="quintet.v1.Nothing"), timeout=1)
    check(next(watched).status == 3, "a watch of what is not served says SERVICE_UNKNOWN")
    try:
        next(watched)
        check(False, "nothing more is said")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, "and stays open")


def main(address):
    db = Quintet(address)
    # Each version of reflection lists itself, and not the other.
    listed = set(db.reflected.get_services()) | {"grpc.reflection.v1.ServerReflection"}
    check(listed == SERVED, "reflection lists what is served, and no more")
    health(db)
    stale = Stale(db)
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with_grpcio(address, stale, compression)
    asyncio.run(with_grpclib(address, stale))
    with_connectrpc(address, stale)
    print("all done")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
