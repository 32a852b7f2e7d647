#!/usr/bin/env python3
"""Talks to a Quintet node of which only the address is known.

    python quintet.py HOST:PORT

The messages of quintet.v1 are built from what the node's server reflection (v1alpha) tells: there is
no generated code and no .proto file. Every step checks what it got; the first that is wrong ends the
program with an error. See docs/clients.md.
"""

import os
import sys
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_status import rpc_status
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

TIMEOUT_S = 20


class Refused(Exception):
    """An error of the cluster; `error` is the decoded quintet.v1.Error."""

    def __init__(self, status, error, codes):
        super().__init__(f"{status.name}: {error.message}")
        self.status = status
        self.error = error
        self.code = codes[error.code].name


class Quintet:
    """The service quintet.v1.KV as a node describes it."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.reflected = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.reflected)
        self.service = self.pool.FindServiceByName("quintet.v1.KV")
        self.codes = self.pool.FindEnumTypeByName("quintet.v1.Code").values_by_number
        # A request's id: 16 random bytes of the process, and a number that rises.
        self.client = os.urandom(16)
        self.sequence = 0
        # The cluster's time, learnt from answers.
        self.cluster_time = 0

    def message(self, name, **fields):
        found = self.pool.FindMessageTypeByName(f"quintet.v1.{name}")
        return message_factory.GetMessageClass(found)(**fields)

    def request_id(self):
        self.sequence += 1
        return self.message("RequestId", client=self.client, sequence=self.sequence)

    def context(self, **fields):
        return self.message("RequestContext", timeout_ms=TIMEOUT_S * 1000, **fields)

    def call(self, method, **fields):
        """One unary call; the answer, or `Refused`."""
        found = self.service.methods_by_name[method]
        fields.setdefault("context", self.context())
        request = message_factory.GetMessageClass(found.input_type)(**fields)
        answers = message_factory.GetMessageClass(found.output_type)
        kind = self.channel.unary_stream if method == "Scan" else self.channel.unary_unary
        remote = kind(
            f"/{self.service.full_name}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answers.FromString,
        )
        try:
            answer = remote(request, timeout=TIMEOUT_S + 5)
            answer = list(answer) if method == "Scan" else answer
        except grpc.RpcError as error:
            raise self.refusal(error) from None
        for page in answer if method == "Scan" else [answer]:
            self.cluster_time = max(self.cluster_time, page.context.cluster_time)
        return answer

    def refusal(self, failed):
        """Among the details of a failed call is a quintet.v1.Error."""
        status = rpc_status.from_call(failed)
        for detail in status.details if status else ():
            error = self.message("Error")
            # False where it is of another type.
            if detail.Unpack(error):
                return Refused(failed.code(), error, self.codes)
        # No answer of a node, as where none listens.
        return failed


def check(holds, what):
    if not holds:
        sys.exit(f"failed: {what}")
    print(f"ok: {what}")


def main(address):
    db = Quintet(address)

    put = db.call("Put", key=b"python/greeting", value=b"hello")
    check(put.version > 0, "put returns a version")
    state = db.call("Get", key=b"python/greeting").state
    check((state.value, state.version) == (b"hello", put.version), "get returns what was put")
    absent = db.call("Get", key=b"python/nothing").state
    check(absent.version == 0, "a key that is not there has version 0")

    swap = dict(key=b"python/greeting", condition=db.message("Condition", version=put.version))
    swapped = db.call("Put", value=b"hello again", **swap)
    check(swapped.version > put.version, "compare-and-set with the version that stands")
    try:
        db.call("Put", value=b"too late", **swap)
        check(False, "compare-and-set with an old version is refused")
    except Refused as refused:
        error = refused.error
        check(refused.status == grpc.StatusCode.FAILED_PRECONDITION, "a conflict has its status")
        check(refused.code == "CODE_CONFLICT", "a conflict has its code")
        stands = (error.current.version, error.current.value)
        check(stands == (swapped.version, b"hello again"), "a conflict shows what stands")
        check(not error.maybe_committed, "a conflict says that nothing was written")

    # What does not fit into an answer of 4 MiB is asked for again.
    large = [b"python/large/%d" % number for number in range(6)]
    for key in large:
        db.call("Put", key=key, value=key * 70_000)
    got, left = {}, large
    while left:
        items = list(zip(left, db.call("BatchGet", keys=left).items))
        answered = {key: item.state.value for key, item in items if item.HasField("state")}
        check(len(answered) > 0, "a batch brings one item at least")
        got |= answered
        left = [key for key, item in items if item.HasField("error")]
    check(all(got[key] == key * 70_000 for key in large), "a batch above 4 MiB, in several calls")

    # A repetition carries the same id, and says so: it is answered, and acts once.
    first = dict(request_id=db.request_id(), first_attempt_time=db.cluster_time)
    counted = db.call("Increment", key=b"python/visits", delta=5, context=db.context(**first))
    check(counted.value == 5, "an increment of an absent key")
    again = db.context(attempt=1, **first)
    repeated = db.call("Increment", key=b"python/visits", delta=5, context=again)
    check((repeated.value, repeated.version) == (5, counted.version), "a repetition acts once")
    check(db.call("Increment", key=b"python/visits", delta=-2).value == 3, "another one counts")

    keys = [b"python/scan/%02d" % number for number in range(20)]
    for key in keys:
        db.call("Put", key=key, value=key.upper())
    pages = db.call("Scan", prefix=b"python/scan/")
    records = [record for page in pages for record in page.records]
    check([record.key for record in records] == keys, "a scan has all keys in order")
    check(all(r.state.value == r.key.upper() for r in records), "a scan has the values")
    pages = db.call("Scan", prefix=b"python/scan/", reverse=True, limit=3)
    records = [record for page in pages for record in page.records]
    check([record.key for record in records] == keys[:-4:-1], "a scan back, limited")

    db.call("Put", key=b"python/session", value=b"alice", ttl_ms=3_600_000)
    state = db.call("Get", key=b"python/session").state
    check(0 < state.ttl_ms <= 3_600_000, "a key that expires says what is left")
    db.call("Put", key=b"python/brief", value=b"x", ttl_ms=200)
    deadline = time.monotonic() + TIMEOUT_S
    while db.call("Get", key=b"python/brief").state.version and time.monotonic() < deadline:
        time.sleep(0.05)
    check(db.call("Get", key=b"python/brief").state.version == 0, "a key expires")

    try:
        db.call("Put", key=b"", value=b"x")
        check(False, "an empty key is refused")
    except Refused as refused:
        check(refused.code == "CODE_INVALID_ARGUMENT", "an empty key is refused by its code")
    print("all done")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
