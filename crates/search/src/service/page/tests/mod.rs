//! What people see: as HTML here, in a browser next door.

mod browser;
mod chromium;
mod pages;
mod server;
