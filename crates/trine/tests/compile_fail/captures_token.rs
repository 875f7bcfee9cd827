//! A token has no size, and yet it proves something about this process only.

use std::marker::PhantomData;

#[derive(Clone, Copy)]
struct Token(PhantomData<()>);

impl Token {
    fn after_set_up_here() -> Token {
        Token(PhantomData)
    }

    fn use_what_was_set_up(self) {}
}

fn main() {
    let token = Token::after_set_up_here();
    let task = trine::process::spawn((), move |()| token.use_what_was_set_up());
    task.join().unwrap();
}
