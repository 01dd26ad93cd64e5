//! A writer of flatbuffers: tables of numbered fields become the bytes of a file.
//!
//! Written by hand: the schema's own generator is a C++ program, and what it makes of TensorFlow Lite's schema is twenty thousand lines.
//! Everything is written from the front to the back, a table before what it refers to, because offsets point forwards.

/// A table: its fields by their number in the schema.
#[derive(Clone, Debug, Default)]
pub struct Table(pub Vec<Field>);

/// A field of a table.
#[derive(Clone, Debug)]
pub enum Field {
    /// Not there: the schema's default.
    Absent,
    /// One byte, a truth value among them.
    U8(u8),
    /// Four bytes, signed.
    I32(i32),
    /// f32.
    F32(f32),
    /// Another table.
    Table(Table),
    /// Tables.
    Tables(Vec<Table>),
    /// UTF-8.
    Text(String),
    /// Bytes, which begin at a multiple of 16.
    Bytes(Vec<u8>),
    /// i32 values.
    I32s(Vec<i32>),
    /// i64 values.
    I64s(Vec<i64>),
    /// f32 values.
    F32s(Vec<f32>),
}

impl Field {
    /// Bytes in the table itself; what is larger lies behind it, and the table has its offset.
    const fn size(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::U8(_) => 1,
            _ => 4,
        }
    }
}

/// The file of a root table, with the four letters that tell its kind.
pub fn file(root: &Table, kind: [u8; 4]) -> Vec<u8> {
    let mut writer = Writer { bytes: vec![0; 4] };
    writer.bytes.extend(kind);
    let at = writer.table(root);
    writer.refer(0, at);
    writer.bytes
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Pads until the length is `over` more than a multiple of `to`.
    fn align(&mut self, to: usize, over: usize) {
        while self.bytes.len() % to != over % to {
            self.bytes.push(0);
        }
    }

    /// Writes at `at` how far behind it `target` lies.
    fn refer(&mut self, at: usize, target: usize) {
        // The caller keeps files below 2 GiB.
        self.bytes[at..at + 4].copy_from_slice(&((target - at) as u32).to_le_bytes());
    }

    /// A table and all below it; returns where it begins.
    fn table(&mut self, table: &Table) -> usize {
        let fields = &table.0;
        // The list of the fields' places, then the table; four-byte fields come first, so that they are aligned.
        let list_len = 4 + 2 * fields.len();
        self.align(4, list_len.wrapping_neg() % 4);
        let list = self.bytes.len();
        self.bytes.resize(list + list_len, 0);
        let start = self.bytes.len();
        self.bytes.extend((list_len as i32).to_le_bytes());
        for size in [4, 1] {
            for (number, field) in fields.iter().enumerate().filter(|(_, field)| field.size() == size) {
                let place = (self.bytes.len() - start) as u16;
                self.bytes[list + 4 + 2 * number..][..2].copy_from_slice(&place.to_le_bytes());
                match field {
                    Field::U8(value) => self.bytes.push(*value),
                    Field::I32(value) => self.bytes.extend(value.to_le_bytes()),
                    Field::F32(value) => self.bytes.extend(value.to_le_bytes()),
                    _ => self.bytes.extend([0; 4]),
                }
            }
        }
        let lengths = [list_len as u16, (self.bytes.len() - start) as u16];
        self.bytes[list..list + 4].copy_from_slice(&lengths.map(u16::to_le_bytes).concat());
        for (number, field) in fields.iter().enumerate() {
            let place = u16::from_le_bytes([self.bytes[list + 4 + 2 * number], self.bytes[list + 5 + 2 * number]]);
            if let Some(target) = self.behind(field) {
                self.refer(start + usize::from(place), target);
            }
        }
        start
    }

    /// What a field refers to.
    fn behind(&mut self, field: &Field) -> Option<usize> {
        match field {
            Field::Absent | Field::U8(_) | Field::I32(_) | Field::F32(_) => None,
            Field::Table(table) => Some(self.table(table)),
            Field::Tables(tables) => {
                let start = self.vector(tables.len(), 4, &vec![0; 4 * tables.len()]);
                for (number, table) in tables.iter().enumerate() {
                    let target = self.table(table);
                    self.refer(start + 4 + 4 * number, target);
                }
                Some(start)
            }
            Field::Text(text) => {
                let start = self.vector(text.len(), 4, text.as_bytes());
                self.bytes.push(0);
                Some(start)
            }
            Field::Bytes(values) => Some(self.vector(values.len(), 16, values)),
            Field::I32s(values) => Some(self.numbers(values, i32::to_le_bytes)),
            Field::I64s(values) => Some(self.numbers(values, i64::to_le_bytes)),
            Field::F32s(values) => Some(self.numbers(values, f32::to_le_bytes)),
        }
    }

    /// Numbers of N bytes, which begin at a multiple of N.
    fn numbers<T: Copy, const N: usize>(&mut self, values: &[T], to_bytes: fn(T) -> [u8; N]) -> usize {
        self.vector(values.len(), N, &values.iter().copied().flat_map(to_bytes).collect::<Vec<u8>>())
    }

    /// A count and values that begin at a multiple of `align`.
    fn vector(&mut self, count: usize, align: usize, values: &[u8]) -> usize {
        self.align(align, align - 4);
        let start = self.bytes.len();
        self.bytes.extend((count as u32).to_le_bytes());
        self.bytes.extend(values);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
    }

    /// Where a field of the table at `table` lies; `None` when it is not there.
    fn field(bytes: &[u8], table: usize, number: usize) -> Option<usize> {
        let list = table - u32_at(bytes, table);
        let u16_at = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let place = u16_at(list + 4 + 2 * number);
        (place != 0 && 4 + 2 * number < u16_at(list)).then_some(table + place)
    }

    fn behind(bytes: &[u8], at: usize) -> usize {
        at + u32_at(bytes, at)
    }

    /// Read back by the format's own rules: offsets, alignments, and fields that are not there.
    #[test]
    fn reads_back() {
        let inner = |value| Table(vec![Field::U8(value), Field::Absent, Field::I64s(vec![-2, 7])]);
        let root = Table(vec![
            Field::U8(9),
            Field::Absent,
            Field::Text("noise".into()),
            Field::Bytes(vec![1, 2, 3]),
            Field::Tables(vec![inner(4), inner(5)]),
            Field::F32(0.5),
        ]);
        let bytes = file(&root, *b"TEST");
        assert_eq!(&bytes[4..8], b"TEST");
        let root = behind(&bytes, 0);
        assert_eq!(bytes[field(&bytes, root, 0).expect("a byte")], 9);
        assert_eq!(field(&bytes, root, 1), None);
        let text = behind(&bytes, field(&bytes, root, 2).expect("a text"));
        assert_eq!((u32_at(&bytes, text), &bytes[text + 4..text + 10]), (5, &b"noise\0"[..]));
        let data = behind(&bytes, field(&bytes, root, 3).expect("bytes"));
        assert_eq!((u32_at(&bytes, data), (data + 4) % 16, &bytes[data + 4..data + 7]), (3, 0, &[1, 2, 3][..]));
        let tables = behind(&bytes, field(&bytes, root, 4).expect("tables"));
        let second = behind(&bytes, tables + 8);
        assert_eq!(bytes[field(&bytes, second, 0).expect("a byte")], 5);
        let numbers = behind(&bytes, field(&bytes, second, 2).expect("numbers"));
        assert_eq!((numbers + 4) % 8, 0);
        assert_eq!(bytes[numbers + 12..numbers + 20], 7i64.to_le_bytes());
        let float = field(&bytes, root, 5).expect("a float");
        assert_eq!((float % 4, &bytes[float..float + 4]), (0, &0.5f32.to_le_bytes()[..]));
    }
}
