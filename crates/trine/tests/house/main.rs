//! The rules of the house, checked on its sources: floors, rooms, and how they are written.

mod docs;
mod layers;
mod prose;
mod rooms;
mod sources;
mod wakers;
