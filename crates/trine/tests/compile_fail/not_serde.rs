struct Plain;

fn main() {
    trine::process::spawn(1, |_: u32| Plain).join().unwrap();
}
