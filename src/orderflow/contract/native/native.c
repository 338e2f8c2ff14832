/* The two steps of a batch that process each byte: decode orders into columns, and write columns as LOAD DATA lines.
 *
 * The decoder accepts only valid orders in the usual JSON notation; all other values take the exact path in Python.
 * The buffers are Arrow's and belong to the caller. The code allocates nothing, has no state, and is thread-safe.
 */

#include <stdint.h>
#include <string.h>

enum { CUSTOMER_ID, ORDER_ID, PRODUCT_NAME, PRODUCT_CATEGORY, UNIT_PRICE, QUANTITY, TOTAL_PRICE, ORDER_TIMESTAMP, FIELDS };

#define KEY(name) {sizeof(name) - 1, name}
static const struct {
    size_t length;
    const char *name;
} keys[FIELDS] = {
    KEY("customer_id"), KEY("order_id"), KEY("product_name"), KEY("product_category"),
    KEY("unit_price"),  KEY("quantity"), KEY("total_price"),  KEY("order_timestamp"),
};

enum { LONGEST_VALUE = 4096 }; /* bytes: enough for an order in the usual notation; the contract allows far more */
enum { LONGEST_NAME = 255, LONGEST_CATEGORY = 100, LONGEST_ID = 50, TIMESTAMP = 19 }; /* characters */

typedef const uint8_t *In;
typedef uint8_t *Out;

/* An amount in Arrow's decimal128 format: cents in 128 bits. An order's amounts fit into the lower half. */
typedef struct {
    int64_t cents, high;
} Amount;

/* A text column in Arrow's format: the texts are contiguous; `ends` starts with 0 and then has the end of each text. */
typedef struct {
    int32_t *ends;
    Out bytes;
} Texts;

typedef struct {
    int32_t *customer_id;
    Texts order_id, product_name, product_category;
    Amount *unit_price;
    int32_t *quantity;
    Amount *total_price;
    Texts order_timestamp;
    int64_t *batch_index;
} Columns;

static inline In skip_space(In at, In end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    return at;
}

static inline int is_digit(uint8_t byte) { return (uint8_t)(byte - '0') < 10; }

/* The key before the closing quote here, or -1. `expected` is tried first: keys usually come in the contract's order. */
static int key_at(In at, In end, int expected) {
    size_t left = (size_t)(end - at);
    for (int tried = 0; tried < FIELDS; tried++) {
        int key = (expected + tried) % FIELDS;
        size_t length = keys[key].length;
        if (left > length && at[length] == '"' && !memcmp(at, keys[key].name, length)) return key;
    }
    return -1;
}

/* The following readers return the position after the value, or NULL if the value must take the exact path. */

static In read_integer(In at, In end, int32_t *into) {
    int64_t value = 0;
    In start = at;
    if (at == end || *at == '0') return NULL;
    while (at < end && is_digit(*at) && at - start < 10) value = value * 10 + (*at++ - '0');
    if (at == start || value > INT32_MAX) return NULL;
    *into = (int32_t)value;
    return at;
}

static In read_cents(In at, In end, int64_t *into) {
    int64_t value = 0;
    In start = at;
    while (at < end && is_digit(*at) && at - start < 8) value = value * 10 + (*at++ - '0');
    if (at == start || (*start == '0' && at - start > 1)) return NULL;
    value *= 100;
    if (at < end && *at == '.') {
        if (++at == end || !is_digit(*at)) return NULL;
        value += (*at++ - '0') * 10;
        if (at < end && is_digit(*at)) value += *at++ - '0';
    }
    if (!value) return NULL;
    *into = value;
    return at;
}

static int hexadecimal(In at, In end) {
    int value = 0;
    if (end - at < 4) return -1;
    for (int index = 0; index < 4; index++) {
        uint8_t digit = at[index], letter = digit | 0x20;
        if (is_digit(digit)) value = value << 4 | (digit - '0');
        else if (letter >= 'a' && letter <= 'f') value = value << 4 | (letter - 'a' + 10);
        else return -1;
    }
    return value;
}

/* Decode the escape after a backslash to UTF-8. NUL and unpaired surrogates take the exact path. */
static In read_escape(In at, In end, Out *into) {
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    Out out = *into;
    if (at == end) return NULL;
    if (*at != 'u') {
        const char *found = *at ? strchr(names, *at) : NULL;
        if (!found) return NULL;
        *out++ = (uint8_t)meant[found - names];
        *into = out;
        return at + 1;
    }
    int32_t code = hexadecimal(++at, end);
    if (code <= 0) return NULL;
    at += 4;
    if (code >= 0xD800 && code < 0xDC00) {
        if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return NULL;
        int32_t low = hexadecimal(at + 2, end);
        if (low < 0xDC00 || low > 0xDFFF) return NULL;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        at += 6;
    } else if (code >= 0xDC00 && code < 0xE000) {
        return NULL;
    }
    if (code < 0x80) {
        *out++ = (uint8_t)code;
    } else {
        int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3; /* bytes */
        static const uint8_t first[] = {0, 0xC0, 0xE0, 0xF0};
        *out++ = (uint8_t)(first[more] | code >> 6 * more);
        while (more--) *out++ = (uint8_t)(0x80 | (code >> 6 * more & 0x3F));
    }
    *into = out;
    return at;
}

/* The length in bytes of the non-ASCII UTF-8 character (RFC 3629) that begins here; 0 if it is invalid. */
static int utf8_length(In at, In end) {
    uint8_t first = *at, lowest = 0x80, highest = 0xBF;
    int length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (!length || end - at < length) return 0;
    if (first == 0xE0) lowest = 0xA0;
    if (first == 0xED) highest = 0x9F;
    if (first == 0xF0) lowest = 0x90;
    if (first == 0xF4) highest = 0x8F;
    if (at[1] < lowest || at[1] > highest) return 0;
    for (int more = 2; more < length; more++)
        if ((at[more] & 0xC0) != 0x80) return 0;
    return length;
}

/* Read a JSON string of 1 to `most` characters. It never writes more bytes than it reads. */
static In read_text(In at, In end, Out *into, int most) {
    Out out = *into;
    int characters = 0;
    if (at == end || *at++ != '"') return NULL;
    for (;; characters++) {
        if (at == end) return NULL;
        uint8_t byte = *at;
        if (byte == '"') break;
        if (characters == most || byte < 0x20) return NULL;
        if (byte == '\\') {
            if (!(at = read_escape(at + 1, end, &out))) return NULL;
        } else if (byte < 0x80) {
            *out++ = byte;
            at++;
        } else {
            int length = utf8_length(at, end);
            if (!length) return NULL;
            while (length--) *out++ = *at++;
        }
    }
    *into = out;
    return characters ? at + 1 : NULL;
}

static int is_order_id(In text, int64_t length) {
    if (length < 12 || memcmp(text, "ORDER-", 6)) return 0;
    for (int64_t at = 6; at < length; at++)
        if (!is_digit(text[at])) return 0;
    return 1;
}

static int number(In text, int digits) {
    int value = 0;
    while (digits--) value = value * 10 + (*text++ - '0');
    return value;
}

static int is_timestamp(In text, int64_t length) {
    static const char shape[] = "0000-00-00T00:00:00";
    static const uint8_t days[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (length != TIMESTAMP) return 0;
    for (int at = 0; at < TIMESTAMP; at++)
        if (shape[at] == '0' ? !is_digit(text[at]) : text[at] != shape[at]) return 0;
    int year = number(text, 4), month = number(text + 5, 2), day = number(text + 8, 2);
    int leap = month == 2 && year % 4 == 0 && (year % 100 || year % 400 == 0);
    return year && month >= 1 && month <= 12 && day >= 1 && day <= days[month] + leap && number(text + 11, 2) < 24 &&
           number(text + 14, 2) < 60 && number(text + 17, 2) < 60;
}

static Out next_of(const Texts *texts, int64_t row) { return texts->bytes + texts->ends[row]; }

static void keep(const Texts *texts, int64_t row, Out end) { texts->ends[row + 1] = (int32_t)(end - texts->bytes); }

/* Decode the value into row `row` of the columns. Return 0 if it must take the exact path. */
static int read_order(In at, In end, const Columns *to, int64_t row) {
    unsigned seen = 0;
    int64_t unit_price = 0, total_price = 0;
    Out order_id = next_of(&to->order_id, row), timestamp = next_of(&to->order_timestamp, row);
    Out order_id_end = order_id, timestamp_end = timestamp;
    Out name_end = next_of(&to->product_name, row), category_end = next_of(&to->product_category, row);

    at = skip_space(at, end);
    if (at == end || *at++ != '{') return 0;
    for (int field = 0; field < FIELDS; field++) {
        at = skip_space(at, end);
        if (at == end || *at++ != '"') return 0;
        int key = key_at(at, end, field);
        if (key < 0 || seen & 1u << key) return 0;
        seen |= 1u << key;
        at = skip_space(at + keys[key].length + 1, end);
        if (at == end || *at++ != ':') return 0;
        at = skip_space(at, end);
        switch (key) {
        case CUSTOMER_ID: at = read_integer(at, end, to->customer_id + row); break;
        case ORDER_ID: at = read_text(at, end, &order_id_end, LONGEST_ID); break;
        case PRODUCT_NAME: at = read_text(at, end, &name_end, LONGEST_NAME); break;
        case PRODUCT_CATEGORY: at = read_text(at, end, &category_end, LONGEST_CATEGORY); break;
        case UNIT_PRICE: at = read_cents(at, end, &unit_price); break;
        case QUANTITY: at = read_integer(at, end, to->quantity + row); break;
        case TOTAL_PRICE: at = read_cents(at, end, &total_price); break;
        case ORDER_TIMESTAMP: at = read_text(at, end, &timestamp_end, TIMESTAMP); break;
        }
        if (!at) return 0;
        at = skip_space(at, end);
        if (at == end || *at++ != (field < FIELDS - 1 ? ',' : '}')) return 0;
    }
    if (skip_space(at, end) != end) return 0;
    if (!is_order_id(order_id, order_id_end - order_id) || !is_timestamp(timestamp, timestamp_end - timestamp)) return 0;
    if ((__int128)unit_price * to->quantity[row] != total_price) return 0;

    to->unit_price[row] = (Amount){unit_price, 0};
    to->total_price[row] = (Amount){total_price, 0};
    keep(&to->order_id, row, order_id_end);
    keep(&to->product_name, row, name_end);
    keep(&to->product_category, row, category_end);
    keep(&to->order_timestamp, row, timestamp_end);
    return 1;
}

/* Decode `values` values, which are contiguous in `data`, into columns. Return the number of decoded orders.
 * Each column must have space for `values` rows, and each text column for as many bytes as all values have.
 */
int64_t orderflow_read(int64_t values, const int64_t *ends, In data, const Columns *to) {
    int64_t rows = 0;
    to->order_id.ends[0] = to->product_name.ends[0] = to->product_category.ends[0] = to->order_timestamp.ends[0] = 0;
    for (int64_t index = 0; index < values; index++) {
        In at = data + ends[index], end = data + ends[index + 1];
        if (end - at <= LONGEST_VALUE && read_order(at, end, to, rows)) to->batch_index[rows++] = index;
    }
    return rows;
}

/* A column to write. For texts, `values` are their bytes and `ends` their ends. Identifiers need no escaping.
 * Of a time, only the digits and the decimal point are written, which MySQL parses faster; \N is written unchanged.
 */
typedef struct {
    enum { INT32, INT64, AMOUNT, IDENTIFIER, TIME, TEXT } type;
    const int32_t *ends;
    const void *values;
} Written;

static Out write_number(Out out, uint64_t value, int digits_at_least) {
    uint8_t digits[20];
    int count = 0;
    do digits[count++] = (uint8_t)('0' + value % 10);
    while (value /= 10);
    while (count < digits_at_least) digits[count++] = '0';
    while (count) *out++ = digits[--count];
    return out;
}

static Out write_signed(Out out, int64_t value) {
    if (value < 0) *out++ = '-';
    return write_number(out, value < 0 ? -(uint64_t)value : (uint64_t)value, 1);
}

static Out write_amount(Out out, uint64_t cents) {
    out = write_number(out, cents / 100, 1);
    *out++ = '.';
    return write_number(out, cents % 100, 2);
}

static Out write_time(Out out, In text, In end) {
    int is_time = text < end && is_digit(*text);
    for (; text < end; text++)
        if (!is_time || is_digit(*text) || *text == '.') *out++ = *text;
    return out;
}

static Out write_escaped(Out out, In text, In end) {
    for (; text < end; text++) {
        uint8_t byte = *text;
        if (byte == '\\' || byte == '\t' || byte == '\n') {
            *out++ = '\\';
            byte = byte == '\t' ? 't' : byte == '\n' ? 'n' : byte;
        }
        *out++ = byte;
    }
    return out;
}

/* Write rows in the format of LOAD DATA: tabs between columns, a line break after each row. Return the number of bytes
 * written: at most 22 for each number, and for each text at most twice its bytes and one more.
 */
int64_t orderflow_write(int64_t rows, int64_t columns, const Written *column, Out start) {
    Out out = start;
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t at = 0; at < columns; at++) {
            const void *values = column[at].values;
            const int32_t *ends = column[at].ends + row;
            switch (column[at].type) {
            case INT32: out = write_signed(out, ((const int32_t *)values)[row]); break;
            case INT64: out = write_signed(out, ((const int64_t *)values)[row]); break;
            case AMOUNT: out = write_amount(out, (uint64_t)((const Amount *)values)[row].cents); break;
            case IDENTIFIER:
                memcpy(out, (In)values + ends[0], (size_t)(ends[1] - ends[0]));
                out += ends[1] - ends[0];
                break;
            case TIME: out = write_time(out, (In)values + ends[0], (In)values + ends[1]); break;
            case TEXT: out = write_escaped(out, (In)values + ends[0], (In)values + ends[1]); break;
            }
            *out++ = at < columns - 1 ? '\t' : '\n';
        }
    }
    return out - start;
}
