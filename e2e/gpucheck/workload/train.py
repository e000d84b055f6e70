# SPDX-License-Identifier: Apache-2.0
"""PyTorch training steps with a known bottleneck, for gpucheck.

    train.py MODE SECONDS

MODE is
    count      100 steps; prints the calls that torch.profiler (CUPTI) counted as JSON, then waits
    healthy    large matrix products
    starved    a loader that takes ten times as long as the step
    preprocess loader processes that keep their CPUs busy
    sync       small kernels, with an .item() after each four
    copy       large batches from pageable memory
    graph      a captured step, replayed
    triton     a kernel compiled by Triton, where that is installed
"""

import json
import os
import sys
import time

import torch


def model():
    layers = [layer for _ in range(8) for layer in (torch.nn.Linear(4096, 4096), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers).cuda().half()


def step(net, optimiser, batch):
    optimiser.zero_grad(set_to_none=True)
    loss = net(batch).float().pow(2).mean()
    loss.backward()
    optimiser.step()
    return loss


class Slow(torch.utils.data.Dataset):
    """Samples that take some seconds each: asleep, as if waiting for a disk or a network, or busy."""

    def __init__(self, seconds, busy):
        self.seconds, self.busy = seconds, busy

    def __len__(self):
        return 1 << 30

    def __getitem__(self, _):
        end = time.monotonic() + self.seconds
        while self.busy and time.monotonic() < end:
            sum(range(1000))
        time.sleep(max(0.0, end - time.monotonic()))
        return torch.zeros(4096, dtype=torch.half)


def report(**fields):
    print(json.dumps(fields), flush=True)


def count(net, optimiser):
    batch = torch.zeros(64, 4096, dtype=torch.half, device="cuda")
    step(net, optimiser, batch)
    torch.cuda.synchronize()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(100):
            step(net, optimiser, batch)
        torch.cuda.synchronize()
    calls = {}
    for event in profile.key_averages():
        if event.key.startswith("cu"):
            calls[event.key] = event.count
    report(profiled=calls)
    sys.stdin.readline()


def main():
    mode, seconds = sys.argv[1], float(sys.argv[2])
    torch.manual_seed(1)
    net = model()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-4)
    if mode == "count":
        count(net, optimiser)
        return
    report(working=mode, pid=os.getpid())
    end = time.monotonic() + seconds
    if mode in ("starved", "preprocess"):
        loader = torch.utils.data.DataLoader(Slow(0.02, mode == "preprocess"), batch_size=8, num_workers=4)
        for batch in loader:
            step(net, optimiser, batch.cuda(non_blocking=True))
            if time.monotonic() >= end:
                return
    if mode == "sync":
        small = torch.zeros(64, device="cuda")
        while time.monotonic() < end:
            for _ in range(4):
                small = small * 1.0001 + 1
            small.sum().item()
    if mode == "copy":
        host = torch.zeros(1 << 26)
        while time.monotonic() < end:
            host.cuda().add_(1)
            torch.cuda.synchronize()
    if mode == "graph":
        batch = torch.zeros(64, 4096, dtype=torch.half, device="cuda")
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                step(net, optimiser, batch)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step(net, optimiser, batch)
        while time.monotonic() < end:
            for _ in range(20):
                graph.replay()
            torch.cuda.synchronize()
    if mode == "triton":
        compiled = torch.compile(lambda x: torch.sin(x) * 2 + x)
        x = torch.zeros(1 << 24, device="cuda")
        while time.monotonic() < end:
            for _ in range(20):
                x = compiled(x)
            torch.cuda.synchronize()
    batch = torch.zeros(4096, 4096, dtype=torch.half, device="cuda")
    while time.monotonic() < end:  # healthy
        for _ in range(5):
            step(net, optimiser, batch)
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
