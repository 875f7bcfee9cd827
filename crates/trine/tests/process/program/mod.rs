//! The program around a pool: its streams, its signals, what it does before `main`, its `/proc`.

mod foreign_proc;
mod initialisers;
mod refused;
mod streams;
mod terminal;
