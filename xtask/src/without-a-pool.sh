#!/bin/sh
# Runs the Rust compiler, which cargo names first, and builds PyO3 without its pool of references.
case " $* " in
*" --crate-name pyo3 "*) set -- "$@" --cfg pyo3_disable_reference_pool ;;
esac
exec "$@"
