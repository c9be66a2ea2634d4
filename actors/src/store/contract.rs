//! The contract of a store, as a suite that every store runs.
