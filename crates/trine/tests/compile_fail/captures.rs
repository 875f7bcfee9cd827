fn main() {
    let factor = 3;
    let task = trine::process::spawn(1, move |n: u32| n * factor);
    task.join().unwrap();
}
