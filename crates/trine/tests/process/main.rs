//! Process tasks, their pools and workers, and commands.

mod builder;
mod cancel;
mod capture;
mod command;
#[path = "../common/mod.rs"]
mod common;
mod crashes;
mod detached;
mod forged;
mod hostile;
mod hygiene;
mod limits;
mod master;
mod policy;
mod pool;
mod preload;
mod program;
mod sandbox;
mod user;
mod values;
