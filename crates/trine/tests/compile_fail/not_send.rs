//! A task of a scope shares what only one thread may have.

fn main() {
    let shared = std::rc::Rc::new(1);
    trine::scope(|s| s.coroutine(|| *shared).join().unwrap()).unwrap();
}
