//! weir-sim-tests
