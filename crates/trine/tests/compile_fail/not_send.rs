//! A task of a scope shares a value that only one thread may have.

fn main() {
    let shared = std::rc::Rc::new(1);
    trine::scope(|s| s.coroutine(|| *shared).join().unwrap()).unwrap();
}
