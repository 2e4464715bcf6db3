use super::*;

#[test]
fn names_are_plain_and_in_lower_case() {
    assert_eq!(Name::parse(" Alice_7 ").unwrap().as_str(), "alice_7");
    for bad in [
        "",
        "al",
        "7alice",
        "-alice",
        "al ice",
        "al\u{ed}ce",
        "alice'--",
        "<b>alice</b>",
        "../etc",
        "alice\0",
        "alice\r\nSet-Cookie: a=b",
        &"a".repeat(33),
    ] {
        assert!(Name::parse(bad).is_err(), "{bad:?}");
    }
    assert!(Name::parse(&"a".repeat(32)).is_ok());
}

#[test]
fn a_password_is_long_enough_and_not_the_name() {
    let alice = Name::parse("alice").unwrap();
    let chosen = |text: &str| Password::choose(text, &alice).is_ok();
    assert!(chosen("correct horse"));
    assert!(chosen("' OR 1=1; --"));
    // Ten characters, forty bytes.
    assert!(chosen(
        "\u{1f600}\u{1f601}\u{1f602}\u{1f603}\u{1f604}\u{1f605}\u{1f606}\u{1f607}\u{1f608}\u{1f609}"
    ));
    assert!(!chosen("short"));
    assert!(!chosen("I am ALICE, hello"));
    assert!(!chosen("aaaaaaaaaaaa"));
    assert!(chosen(&"ab".repeat(64)));
    assert!(!chosen(&"ab".repeat(65)));
}

#[test]
fn a_password_is_not_printed() {
    let alice = Name::parse("alice").unwrap();
    let password = Password::choose("correct horse", &alice).unwrap();
    assert!(!format!("{password:?}").contains("horse"));
}

#[test]
fn a_guess_of_any_length_up_to_the_limit_is_compared() {
    assert!(Password::guess("").is_some());
    assert!(Password::guess(&"x".repeat(128)).is_some());
    assert!(Password::guess(&"x".repeat(129)).is_none());
}

#[test]
fn posts_keep_their_lines_and_nothing_invisible_around_them() {
    let post = PostText::parse("  one\r\ntwo\rthree\u{200b} \n").unwrap();
    assert_eq!(post.as_str(), "one\ntwo\nthree");
    let markup = "<script>alert('1')</script>'; DROP TABLE post; --";
    assert_eq!(PostText::parse(markup).unwrap().as_str(), markup);
}

#[test]
fn posts_of_nothing_are_refused() {
    for nothing in ["", " \n\t ", "\u{200b}\u{feff}", "\u{2800}", "\u{3164}"] {
        assert!(PostText::parse(nothing).is_err(), "{nothing:?}");
    }
    for control in ["a\0b", "a\u{1b}[31mb", "a\u{7f}b", "a\u{85}b"] {
        assert!(PostText::parse(control).is_err(), "{control:?}");
    }
}

#[test]
fn lengths_are_counted_as_browsers_count() {
    assert!(PostText::parse(&"x".repeat(1000)).is_ok());
    assert!(PostText::parse(&"x".repeat(1001)).is_err());
    // Each of these is two UTF-16 units, so a browser stops at 500.
    assert!(PostText::parse(&"\u{1f600}".repeat(500)).is_ok());
    assert!(PostText::parse(&"\u{1f600}".repeat(501)).is_err());
    // A line end is one, though a form sends it as two.
    let lines = "x\r\n".repeat(499) + "xx";
    assert!(PostText::parse(&lines).is_ok());
    assert!(About::parse("").is_ok());
    assert!(About::parse(&"x".repeat(501)).is_err());
}
