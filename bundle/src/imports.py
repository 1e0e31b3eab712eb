"""Prints what pymail needs of the standard library: its folder, its licence, where native libraries are, and each file that was imported."""

import sys
from importlib import import_module

for name in sys.argv[1:]:
    import_module(name)
needed = list(sys.modules.values())

import os
import sysconfig

folder = sysconfig.get_path("stdlib")
native = sysconfig.get_path("platstdlib")
texts = [os.path.join(place, "LICENSE.txt") for place in (folder, sys.base_prefix)]
print(folder)
print(next((text for text in texts if os.path.isfile(text)), ""))
print(sysconfig.get_config_var("LIBDIR"))
for module in needed:
    # Frozen modules have a file, too, which tracebacks show.
    file = getattr(module, "__file__", None) or ""
    for place in dict.fromkeys((folder, native)):
        # Windows spells it in two ways, up to Python 3.10.
        if os.path.normcase(file).startswith(os.path.normcase(place + os.sep)):
            print(place + file[len(place) :])
