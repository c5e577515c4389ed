//! An accept loop that slow and hostile clients cannot hurt.
