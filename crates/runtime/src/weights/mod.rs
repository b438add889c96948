//! Model weights by memory map.
