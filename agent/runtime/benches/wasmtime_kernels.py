"""Runs the kernels in wasmtime: of each the milliseconds it takes, the best of three, and what it gives.

Arguments: the module, then how much each kernel is to do.
"""

import sys
import tempfile
import time

from wasmtime import Engine, ExitTrap, Linker, Module, Store, WasiConfig

ROUNDS = 3


def run(engine, module, kernel, amount):
    with tempfile.NamedTemporaryFile() as output:
        config = WasiConfig()
        config.env = [("kernel", str(kernel)), ("amount", amount)]
        config.stdout_file = output.name
        store = Store(engine)
        store.set_wasi(config)
        linker = Linker(engine)
        linker.define_wasi()
        start = linker.instantiate(store, module).exports(store)["_start"]
        begin = time.perf_counter()
        try:
            start(store)
        except ExitTrap as end:
            assert end.code == 0, end
        return (time.perf_counter() - begin) * 1000, output.read().decode().strip()


engine = Engine()
module = Module.from_file(engine, sys.argv[1])
for kernel, amount in enumerate(sys.argv[2:]):
    ms, result = min(run(engine, module, kernel, amount) for _ in range(ROUNDS))
    print(f"{ms:.3f} {result}")
