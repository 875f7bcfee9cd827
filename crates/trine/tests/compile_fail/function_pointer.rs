fn double(n: u32) -> u32 {
    n * 2
}

fn main() {
    let pointer: fn(u32) -> u32 = double;
    trine::process::pool().spawn(1, pointer).join().unwrap();
}
