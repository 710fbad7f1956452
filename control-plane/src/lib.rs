//! weir-control-plane
