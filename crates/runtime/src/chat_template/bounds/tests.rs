use crate::chat_template::{ChatTemplate, Message};

fn render(source: &str) -> Result<String, String> {
    let template = ChatTemplate::new(source, "", "").map_err(|error| error.to_string())?;
    template.render(&[Message::user("hello")], true).map_err(|error| error.to_string())
}

#[test]
fn chains_as_long_as_a_source_may_be_do_not_end_the_process() {
    for (begin, link, end) in [
        ("{{ ", "not ", "1 }}"),
        ("{{ ", "-", "1 }}"),
        ("{{ 1", "-1", " }}"),
        ("{{ 'a'", "~'b'", " }}"),
        ("{{ 'a'", "|trim", " }}"),
        ("{{ a", ".a", " }}"),
        ("{{ a", "[0]", " }}"),
        ("{{ 1", " and 1", " }}"),
        ("{{ 1", " if 1 else 1", " }}"),
        ("{{ 2", "**1", " }}"),
        ("{{ 1", " is odd", " }}"),
        ("{% set x = [] %}", "{% set x = [x] %}", "{{ x == [] }}"),
        ("", "{% if 1 %}", ""),
        ("{{ ", "(", ""),
    ] {
        let links = (crate::chat_template::allowance::MAX_SOURCE_BYTES - begin.len() - end.len()) / link.len();
        // An error or a text: both are answers.
        let _ = render(&format!("{begin}{}{end}", link.repeat(links)));
    }
}

#[test]
fn what_would_not_end_or_fill_the_memory_is_an_error() {
    let loops = |body: &str| {
        format!(
            "{{% set n = namespace(s='{}', l=[1]) %}}{{% for i in range(90) %}}{body}{{% endfor %}}",
            "abcdefgh".repeat(4)
        )
    };
    for (source, expected) in [
        ("{% for i in range(70000) %}{% for j in range(70000) %}{% endfor %}{% endfor %}".into(), "steps"),
        (format!("{{% for i in range(90000) %}}{}{{% endfor %}}", "a line".repeat(1000)), "steps"),
        ("{{ 'a\nb'|indent(30000000000) }}".into(), "width"),
        ("{{ 'a\nb'|indent(width=30000000000) }}".into(), "width"),
        ("{{ [1]|batch(30000000000, 0) }}".into(), "width"),
        ("{{ [1]|slice(30000000000)|list }}".into(), "width"),
        ("{{ [1]|tojson(indent=30000000000) }}".into(), "width"),
        ("{{ '%30000000000d'|format(1) }}".into(), "format"),
        ("{{ '{:30000000000}'.format(1) }}".into(), "format"),
        ("{{ '{:}>30000000000}'.format(1) }}".into(), "format"),
        ("{{ 'ab' * 99999999 }}".into(), "multiplies"),
        ("{{ [1] * 99999999 }}".into(), "multiplies"),
        ("{{ ('ab' * 4000 * 4000)|length }}".into(), "multiplies"),
        ("{{ ((('ab' * 4000) * 4000) * 2)|length }}".into(), "copies"),
        (loops("{% set n.s = n.s + n.s %}"), "copies"),
        (loops("{% set n.s = [n.s, n.s]|join %}"), "copies"),
        (loops("{% set n.s = n.s.replace('a', n.s) %}"), "copies"),
        (loops("{% set n.s = n.s|replace('a', n.s) %}"), "copies"),
        (loops("{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}"), "copies"),
        (loops("{% set n.s = n.s|tojson|tojson %}"), "copies"),
        (loops("{% set n.l = n.l + n.l %}"), "parts"),
        (loops("{% set n.l = [n.l, n.l] %}"), "parts"),
        (
            format!("{{% set s = '{}' %}}{}{{{{ s|length }}}}", "a".repeat(99), "{% set s = s ~ s %}".repeat(60)),
            "copies",
        ),
        ("{% macro m(s, d) %}{{ m(s ~ s, d + 1) }}{% endmacro %}{{ m('aaaaaaaa', 0) }}".into(), ""),
        ("{% set n = namespace() %}{% set n.me = n %}{{ n }}".into(), "namespace"),
        ("{% set n = namespace() %}{% set n.me = [{'a': n}] %}{{ n == n }}".into(), "namespace"),
        ("{% set n = namespace() %}{% set (n.a, x) = (n, 1) %}{{ n ~ '' }}".into(), ""),
        (format!("{{% set x = [1] %}}{}{{{{ x == x }}}}", "{% set x = [x, x] %}".repeat(64)), ""),
    ] {
        match render(&source) {
            Ok(text) => assert!(expected.is_empty() && text.len() < 1000, "{source}: {} bytes", text.len()),
            Err(message) => assert!(message.contains(expected), "{source}: {message}"),
        }
    }
    let long = " ".repeat(crate::chat_template::allowance::MAX_SOURCE_BYTES + 1);
    assert!(render(&long).unwrap_err().contains("at most 65536"));
}

/// The engine takes the last item of a list that it walks backwards, and does not look whether there is one.
#[test]
fn a_panic_of_the_engine_is_an_error_with_its_reason() {
    let error = render("{% for x in [][::-2] %}{{ x }}{% endfor %}").unwrap_err();
    assert!(error.contains("made the template engine panic (index out of bounds"), "{error}");
}

#[test]
fn an_error_of_a_template_names_the_line_and_no_more() {
    let message = render("{% set a = 1 %}\n{{ a.b.c }}").unwrap_err();
    assert!(message.contains("line 2"), "{message}");
    let message = render(&format!("{{{{ raise_exception('{}') }}}}", "long ".repeat(9000))).unwrap_err();
    assert!(message.len() < 3000, "{}", message.len());
}

#[test]
fn what_templates_do_is_not_bounded() {
    for (source, expected) in [
        ("{{ 'a\nb'|indent(2, true) }}", "  a\n  b"),
        ("{{ '%05.1f'|format(1.25) }}", "001.2"),
        ("{{ '20300101 %s'|format(1) }}", "20300101 1"),
        ("{{ '{:3}: 20300101'.format(1) }}", "  1: 20300101"),
        ("{{ [1, 2, 3]|batch(2)|list }}", "[[1, 2], [3]]"),
        ("{{ {'a': [1, {'b': 2}]}|tojson }}", "{\"a\": [1, {\"b\": 2}]}"),
        ("{{ '-' * 20 }}{{ 3 * 4 }}", "--------------------12"),
        ("{{ (1 + 2) ~ 'x' ~ -1 }}{{ [1] + [2] }}", "3x-1[1, 2]"),
        ("{{ messages[0].content[1:3] }}{{ messages[0:]|length }}", "el1"),
        (
            "{% set n = namespace(a='') %}{% for m in messages %}{% set n.a = n.a ~ m.role %}{% endfor %}{{ n.a }}",
            "user",
        ),
        ("{{ nothing ~ 'x' }}", "x"),
    ] {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
    let long = "word ".repeat(1 << 20);
    let template = ChatTemplate::new("{{ messages[0].content|tojson }}{{ messages[0].content }}", "", "").unwrap();
    assert_eq!(template.render(&[Message::user(&long)], true).unwrap().len(), 2 * long.len() + 2);
}

#[test]
fn a_chat_of_many_messages_is_no_attack() {
    let source = "{% for m in messages %}{% if loop.index0 == messages|length - 1 %}last{% endif %}\
                  {{ '<|' + m.role + '|>' + m['content']|trim ~ '\\n' }}{% endfor %}";
    let messages: Vec<Message> = (0..3000).map(|n| Message::user(format!("{n} {}", "words ".repeat(60)))).collect();
    let text = ChatTemplate::new(source, "", "").unwrap().render(&messages, true).unwrap();
    assert_eq!(text.matches("<|user|>").count(), 3000);
    let source = "{% set n = namespace(text='', all=[]) %}{% for m in messages %}{% set n.text = n.text + m.content ~ '!' %}\
                  {% set n.all = n.all + [m] %}{% endfor %}{{ n.text }}{{ n.all|length }}";
    let text = ChatTemplate::new(source, "", "").unwrap().render(&messages, true).unwrap();
    assert!(text.ends_with("!3000"));
}
