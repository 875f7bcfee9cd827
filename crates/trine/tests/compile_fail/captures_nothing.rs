fn main() {
    let closure = |n: u32| n + 1;
    assert_eq!(trine::process::spawn(1, closure).join().unwrap(), 2);
    assert_eq!(trine::process::Pool::new(1).spawn(1, closure).join().unwrap(), 2);
}
