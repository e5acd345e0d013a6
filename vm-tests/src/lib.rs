//! Scenarios: what must hold on emulated machines.
