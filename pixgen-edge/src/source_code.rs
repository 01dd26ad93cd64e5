//! Models as source code, for firmware that has no file system: a C header and a Rust module.

use crate::aligned::AlignedBytes;
use crate::output::is_stdout;
use pixgen_core::pxg::Model;
use std::fmt::{self, Display, Formatter, Write as _};
use std::path::Path;
use std::str::FromStr;

/// What `pixgen.h` declares behind `pixgen_`.
const TAKEN: &[&str] = &[
    "accelerator_inputs",
    "accelerator_picture",
    "band",
    "begin",
    "draw",
    "draw_prepared",
    "drawing",
    "error_text",
    "file_length",
    "get_info",
    "info",
    "open",
    "prepare",
    "prepared",
    "prepared_lengths",
    "self_test",
    "show",
    "status",
    "step",
    "walk",
];

/// Words of C, C++ and Rust that name nothing.
const KEYWORDS: &str = " abstract alignas alignof and and_eq as asm async auto await become bitand bitor bool box break case catch char \
    char16_t char32_t char8_t class co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue crate \
    decltype default delete do double dyn dynamic_cast else enum explicit export extern false final float fn for friend gen goto if impl in \
    inline int let long loop macro match mod move mut mutable namespace new noexcept not not_eq nullptr operator or or_eq override priv \
    private protected pub public ref register reinterpret_cast requires restrict return self short signed sizeof static static_assert \
    static_cast struct super switch template this thread_local throw trait true try type typedef typeid typename typeof union unsafe unsigned \
    unsized use using virtual void volatile wchar_t where while xor xor_eq yield ";

/// Names that the headers of C, which a firmware includes beside the model, take as macros, types, objects or functions, and macros of gcc's
/// gnu modes.
const C_LIBRARY: &str = " NULL EOF BUFSIZ FILE FILENAME_MAX FOPEN_MAX L_tmpnam SEEK_CUR SEEK_END SEEK_SET TMP_MAX stdin stdout stderr errno EDOM ERANGE \
    EILSEQ EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR \
    EINVAL ENFILE EMFILE ENOTTY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP EWOULDBLOCK \
    EOVERFLOW EPROTO ENOTSUP EOPNOTSUPP ETIMEDOUT ECONNRESET ECANCELED ENODATA ENOBUFS EBADMSG EALREADY EINPROGRESS ENOTCONN assert NDEBUG offsetof size_t ptrdiff_t max_align_t wint_t nullptr_t bool true false complex imaginary I NAN INFINITY HUGE_VAL HUGE_VALF \
    HUGE_VALL float_t double_t jmp_buf setjmp sig_atomic_t va_list va_start va_end va_arg va_copy div_t ldiv_t lldiv_t imaxdiv_t time_t clock_t \
    clockid_t tm fpos_t fenv_t fexcept_t mbstate_t wctype_t wctrans_t locale_t ssize_t off_t pid_t uid_t gid_t mode_t suseconds_t useconds_t \
    EXIT_SUCCESS EXIT_FAILURE RAND_MAX MB_CUR_MAX MB_LEN_MAX CHAR_BIT CLOCKS_PER_SEC linux unix i386 arm \
    noreturn main abs abort atexit atof atoi atol atoll bsearch calloc div exit free getenv labs llabs malloc qsort rand realloc srand \
    strtod strtof strtol strtoll strtoul strtoull system memchr memcmp memcpy memmove memset strcat strchr strcmp strcoll strcpy strcspn \
    strerror strlen strncat strncmp strncpy strpbrk strrchr strspn strstr strtok strxfrm fclose feof ferror fflush fgetc fgets fopen fprintf \
    fputc fputs fread fscanf fseek ftell fwrite getc getchar gets perror printf putc putchar puts remove rename rewind scanf setbuf setvbuf \
    snprintf sprintf sscanf tmpfile tmpnam ungetc vfprintf vprintf vsnprintf vsprintf acos asin atan atan2 cbrt ceil cos cosh erf exp exp2 expm1 \
    fabs floor fma fmax fmin fmod frexp hypot ldexp lgamma log log10 log1p log2 logb lround modf nan pow remainder rint round sin sinh sqrt \
    tan tanh tgamma trunc isalnum isalpha iscntrl isdigit isgraph islower isprint ispunct isspace isupper isxdigit tolower toupper asctime \
    isnan isinf isfinite isnormal isgreater isless isunordered signbit fpclassify acosh asinh atanh copysign erfc fdim ilogb llrint llround \
    lrint nearbyint nextafter nexttoward remquo scalbln scalbn clock ctime difftime gmtime localtime mktime strftime time signal raise longjmp ";

/// Integer types of stdint.h, and macros of stdint.h, inttypes.h and limits.h: `uint_fast8_t`, `INT32_MAX`, `UINT8_C`, `PRIu32`, `SIGINT`.
fn is_of_a_c_header(name: &str) -> bool {
    let any = |prefixes: &[&str], ends: &[&str]| {
        prefixes.iter().any(|prefix| name.starts_with(prefix)) && ends.iter().any(|end| name.ends_with(end))
    };
    C_LIBRARY.split(' ').any(|word| word == name)
        || any(&["int", "uint"], &["8_t", "16_t", "32_t", "64_t", "ptr_t", "max_t"])
        || any(
            &[
                "INT", "UINT", "LONG", "ULONG", "LLONG", "ULLONG", "SHRT", "USHRT", "CHAR", "SCHAR", "UCHAR", "SIZE", "PTRDIFF", "WCHAR",
                "WINT",
            ],
            &["_MAX", "_MIN", "_C", "_WIDTH"],
        )
        || any(&["SIG", "LC_", "FE_", "FP_", "M_", "DBL_", "FLT_", "LDBL_", "ATOMIC_", "atomic_", "memory_order"], &[""])
        // math.h: `sinf`, `sinl`.
        || name.strip_suffix(['f', 'l']).is_some_and(|double| C_LIBRARY.split(' ').any(|word| !word.is_empty() && word == double))
        || ["PRI", "SCN"]
            .iter()
            .filter_map(|prefix| name.strip_prefix(prefix))
            .any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == 'X'))
}

/// Longest names that every C compiler tells apart.
const LONGEST: usize = 31;

/// The name of a model in source code: an identifier of C and Rust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol(String);

/// Why a text names nothing in source code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolError {
    /// Empty, or with other characters.
    #[error("a name has letters of ASCII, digits and `_`, and begins with a letter")]
    Characters,
    /// Too long to be told apart.
    #[error("a name has at most {LONGEST} characters")]
    Long,
    /// A word of a language.
    #[error("that is a keyword of C, C++ or Rust")]
    Keyword,
    /// A name of a header of C.
    #[error("headers of C take that name")]
    CLibrary,
    /// A name of `pixgen.h`.
    #[error("pixgen.h declares that name")]
    Taken,
}

impl FromStr for Symbol {
    type Err = SymbolError;

    fn from_str(text: &str) -> Result<Self, SymbolError> {
        let letters = text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
        if !letters || !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(SymbolError::Characters);
        }
        if text.len() > LONGEST {
            return Err(SymbolError::Long);
        }
        // `Self` and the names of macros are as bad as `self`.
        if KEYWORDS.split(' ').any(|word| word.eq_ignore_ascii_case(text)) {
            return Err(SymbolError::Keyword);
        }
        if is_of_a_c_header(text) {
            return Err(SymbolError::CLibrary);
        }
        let lower = text.to_ascii_lowercase();
        if lower.strip_prefix("pixgen_").is_some_and(|rest| TAKEN.contains(&rest)) || lower == "pixgen" {
            return Err(SymbolError::Taken);
        }
        Ok(Self(text.to_owned()))
    }
}

impl Symbol {
    /// `pixgen_` and the name of the file: `pixgen_model` for model.h.
    pub fn of_path(path: &Path) -> Self {
        let stem = path
            .file_stem()
            .filter(|_| !is_stdout(path))
            .map_or("model".into(), |stem| stem.to_string_lossy());
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let stem: String = stem.chars().map(letter).take(LONGEST - "pixgen__model".len()).collect();
        let more = if TAKEN.contains(&stem.as_str()) { "_model" } else { "" };
        Self(format!("pixgen_{stem}{more}"))
    }
}

impl Display for Symbol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Rows of decimal bytes.
fn rows(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(4 * bytes.len());
    for row in bytes.chunks(32) {
        text.push_str("    ");
        for byte in row {
            let _ = write!(text, "{byte},"); // into memory: cannot fail
        }
        text.push('\n');
    }
    text
}

/// Bytes of workspace of the model in `bytes`; 0 where there is none.
fn workspace_len(bytes: &[u8]) -> usize {
    Model::read(AlignedBytes::copy(bytes).bytes()).map_or(0, |model| model.workspace_len())
}

/// The first line of a comment: what the model is, in a sentence that cannot end the comment.
fn title(about: &str) -> String {
    let about = about.trim_end_matches('.').replace("*/", "* /").replace('\n', " ");
    format!("{about}. Made by pixgen-edge export.")
}

/// A header that declares the bytes, and defines them in the one source file that asks for it, so that flash holds them once.
pub(crate) fn c_header(bytes: &[u8], about: &str, symbol: &Symbol) -> String {
    let upper = symbol.0.to_uppercase();
    // Models of the same name are an error of the compiler, and not one that hides the other.
    let guard = format!("{upper}_H_{:08X}", crc32fast::hash(bytes));
    format!(
        "/* {title}\n *\n * One source file of a program, and only one, holds the model:\n *\n \
         *     #define {upper}_IMPLEMENTATION\n *     #include \"this file\"\n */\n\
         #ifndef {guard}\n#define {guard}\n\n\
         /* Bytes of workspace for a picture. */\n#define {upper}_WORKSPACE {workspace}\n\n\
         #ifdef __cplusplus\nextern \"C\" {{\n#endif\nextern const unsigned char {symbol}[{len}];\n#ifdef __cplusplus\n}}\n#endif\n\n#endif\n\n\
         #if defined({upper}_IMPLEMENTATION) && !defined({guard}_DEFINED)\n#define {guard}_DEFINED\n#if defined(__cplusplus)\n\
         alignas(16)\n#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L\n_Alignas(16)\n#else\n__attribute__((aligned(16)))\n#endif\n\
         const unsigned char {symbol}[{len}] = {{\n{rows}}};\n#endif\n",
        title = title(about),
        workspace = workspace_len(bytes),
        len = bytes.len(),
        rows = rows(bytes)
    )
}

/// A module with the bytes. `pixgen_` before the name says nothing in Rust.
pub(crate) fn rust_module(bytes: &[u8], about: &str, symbol: &Symbol) -> String {
    let upper = symbol.0.to_uppercase();
    let name = upper
        .strip_prefix("PIXGEN_")
        .filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()));
    let name = name.unwrap_or(&upper);
    let len = bytes.len();
    format!(
        "// {}\n\n/// Bytes of workspace for a picture.\npub const {name}_WORKSPACE: usize = {};\n\n\
         /// A `.pxg` file: `pixgen_core::pxg::Model::read(&{name}.0)`.\n#[rustfmt::skip]\n\
         pub static {name}: pixgen_core::Aligned<[u8; {len}]> = pixgen_core::Aligned([\n{}]);\n",
        title(about),
        workspace_len(bytes),
        rows(bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    fn symbol(text: &str) -> Symbol {
        text.parse().expect("a name")
    }

    #[test]
    fn texts_hold_every_byte() {
        let bytes: Vec<u8> = (0..100).map(|i| (i * 37 % 256) as u8).collect();
        for text in [c_header(&bytes, "x", &symbol("m")), rust_module(&bytes, "x", &symbol("m"))] {
            let inside = text.split_once(if text.contains("#ifndef") { "= {\n" } else { "([\n" }).expect("array").1;
            let numbers: Vec<u8> = inside
                .split([',', '\n', ' '])
                .map_while(|n| if n.is_empty() { Some(None) } else { n.parse().ok().map(Some) })
                .flatten()
                .collect();
            assert_eq!(numbers, bytes);
        }
    }

    #[test]
    fn comments_cannot_be_left() {
        assert!(!c_header(&[], "a */ b", &symbol("m")).contains("a */"));
        assert!(!rust_module(&[], "a\nfn evil() {}", &symbol("m")).contains("\nfn"));
        for about in ["28x28 px", "28x28 px."] {
            let first = "28x28 px. Made by pixgen-edge export.\n";
            assert!(c_header(&[], about, &symbol("m")).starts_with(&format!("/* {first}")));
            assert!(rust_module(&[], about, &symbol("m")).starts_with(&format!("// {first}")));
        }
    }

    #[test]
    fn names_are_identifiers() {
        for (path, name) in [
            ("model.h", "pixgen_model"),
            ("out/Cats v1.5.h", "pixgen_cats_v1_5"),
            ("9lives.rs", "pixgen_9lives"),
            ("int.h", "pixgen_int"),
            ("draw.h", "pixgen_draw_model"),
            ("\u{732b}.h", "pixgen__"),
            ("-", "pixgen_model"),
        ] {
            let symbol = Symbol::of_path(Path::new(path));
            assert_eq!(symbol.to_string(), name);
            assert_eq!(name.parse(), Ok(symbol), "what is derived could be given");
        }
        let long = "x".repeat(300) + ".h";
        assert!(Symbol::of_path(Path::new(&long)).to_string().parse::<Symbol>().is_ok());
        for (text, error) in [
            ("", SymbolError::Characters),
            ("9a", SymbolError::Characters),
            ("_a", SymbolError::Characters),
            ("a-b", SymbolError::Characters),
            ("caf\u{e9}", SymbolError::Characters),
            ("int", SymbolError::Keyword),
            ("Self", SymbolError::Keyword),
            ("namespace", SymbolError::Keyword),
            ("fn", SymbolError::Keyword),
            ("NULL", SymbolError::CLibrary),
            ("linux", SymbolError::CLibrary),
            ("errno", SymbolError::CLibrary),
            ("stdin", SymbolError::CLibrary),
            ("uint8_t", SymbolError::CLibrary),
            ("int_fast16_t", SymbolError::CLibrary),
            ("INT32_MAX", SymbolError::CLibrary),
            ("PRIu32", SymbolError::CLibrary),
            ("printf", SymbolError::CLibrary),
            ("exp", SymbolError::CLibrary),
            ("sinf", SymbolError::CLibrary),
            ("DBL_MAX", SymbolError::CLibrary),
            ("EAGAIN", SymbolError::CLibrary),
            ("atomic_int", SymbolError::CLibrary),
            ("M_PI", SymbolError::CLibrary),
            ("pixgen_open", SymbolError::Taken),
        ] {
            assert_eq!(text.parse::<Symbol>(), Err(error), "{text}");
        }
        assert_eq!("x".repeat(32).parse::<Symbol>(), Err(SymbolError::Long));
    }

    /// Two models, each in two source files of C and one of C++, in one program that holds each model once.
    #[test]
    fn two_models_link_into_one_program() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        for (name, first) in [("cats", 7u8), ("dogs", 9)] {
            let path = at(&format!("{name}.h"));
            fs::write(&path, c_header(&[first, 1, 2], "x", &Symbol::of_path(&path))).expect("writes");
        }
        let both = "#include \"cats.h\"\n#include \"dogs.h\"\n#include \"cats.h\"\n";
        let define = "#define PIXGEN_CATS_IMPLEMENTATION\n#define PIXGEN_DOGS_IMPLEMENTATION\n";
        let sum = "int NAME(void) { return pixgen_cats[0] + pixgen_dogs[0] + (int) sizeof pixgen_dogs; }\n";
        fs::write(at("one.c"), format!("{both}{define}{both}{}", sum.replace("NAME", "one"))).expect("writes");
        fs::write(at("two.c"), format!("{both}{}", sum.replace("NAME", "two"))).expect("writes");
        fs::write(at("main.c"), "int one(void); int two(void); int main(void) { return one() == 19 && two() == 19 ? 0 : 1; }")
            .expect("writes");
        for standard in ["-std=c99", "-std=c11"] {
            let built = Command::new("cc")
                .current_dir(folder.path())
                .args([standard, "-Wall", "-Wextra", "-Werror", "-o", "program", "one.c", "two.c", "main.c"])
                .output();
            let built = built.expect("cc, which links Rust programs too");
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            assert!(Command::new(at("program")).status().expect("runs").success());
        }
        // Nobody asks for the array: the linker says so.
        fs::write(at("one.c"), format!("{both}{}", sum.replace("NAME", "one"))).expect("writes");
        let built = Command::new("cc")
            .current_dir(folder.path())
            .args(["-o", "program", "one.c", "two.c", "main.c"])
            .output()
            .expect("cc");
        assert!(String::from_utf8_lossy(&built.stderr).contains("pixgen_cats"));
    }
}
