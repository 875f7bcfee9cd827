//! The handle of a task leaves its scope.

fn main() {
    let table = vec![1, 2, 3];
    let handle = trine::scope(|s| s.thread(|| table.len())).unwrap();
    handle.join().unwrap();
}
