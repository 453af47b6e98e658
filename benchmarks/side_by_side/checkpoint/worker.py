"""The peer of millrace_worker.cpp: torch.distributed.checkpoint on one rank. See run.py."""

import json
import os
import shutil
import sys
import time

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp


def main():
    folder, count, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    # async_save requires a process group, even for one rank.
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    state = {f"tensor.{i}": torch.rand(rows, 2048) for i in range(count)}
    print("{}", flush=True)
    step = 0
    for line in sys.stdin:
        answer = {}
        path = f"{folder}/step-{step}"
        if line == "save\n":
            old, step = path, step + 1
            path = f"{folder}/step-{step}"
            begin = time.perf_counter()
            future = dcp.async_save(state, checkpoint_id=path)
            answer["blocked"] = time.perf_counter() - begin
            future.result()
            shutil.rmtree(old, ignore_errors=True)
            answer["complete"] = time.perf_counter() - begin
        elif line == "load\n":
            before = sum(float(tensor.view(-1)[tensor.numel() // 2]) for tensor in state.values())
            for tensor in state.values():
                tensor.zero_()
            begin = time.perf_counter()
            dcp.load(state, checkpoint_id=path)
            answer["seconds"] = time.perf_counter() - begin
            answer["same"] = before == sum(float(tensor.view(-1)[tensor.numel() // 2]) for tensor in state.values())
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    main()
