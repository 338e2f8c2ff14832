/* The two steps of a batch that process each byte: decode orders into columns, and write columns as LOAD DATA lines.
 *
 * The decoder gets the contract as data. It accepts only valid orders in the usual notation; all other values take
 * the exact path in Python. The buffers are Arrow's and belong to the caller. The code allocates nothing, has no state,
 * and is thread-safe.
 */

#include <stdint.h>
#include <string.h>

enum {
    MAX_VALUE_BYTES = 16384, /* enough for an order in the usual notation; the contract allows far more */
    MAX_COLUMNS = 64,        /* of a contract */
    MAX_KEYS = 64,           /* of one object, and of a contract */
    MAX_DEPTH = 16,          /* levels of arrays and objects */
    TIME = 26,               /* characters of a time with microseconds */
    LONGEST_TIME = 40,       /* characters of a time in a message */
};
enum { PRICE = 4, QUANTITY = 5, TOTAL = 6 };                   /* columns of each contract */
enum { CHECKED, COMPUTED, AS_SENT };                           /* how the total is read */
enum { IGNORE, KEEP, REJECT };                                 /* unknown fields */
enum { FROM_NUMBER = 1, FROM_STRING = 2 };                     /* JSON types that a number is read from */
enum { STRING, IDENTIFIER, INTEGER, DECIMAL, BOOLEAN, UTC, RFC3339, EPOCH_MS, JSON }; /* types of columns */

/* A key of a column or of an inner object. The keys of an inner object are keys[first] to keys[first + count - 1]. */
typedef struct {
    const uint8_t *name;
    const uint8_t *path; /* the names of the keys that lead to the inner object, each with a dot behind it */
    int32_t length, path_length;
    int32_t column; /* -1: an inner object */
    int32_t first, count;
} Key;

/* A column: what is valid, and where its values are written in Arrow's format.
 * The numbers have `width` bytes. Texts are contiguous; `ends` starts with 0 and then has the end of each text.
 * A column whose `validity` is not NULL may have NULLs: a bit for each row is 1 if there is a value.
 */
typedef struct {
    int32_t type, from, is_required, has_default, scale, default_length, width;
    int64_t lowest, highest; /* of a number, of a decimal in its last digit, or of a text's characters or JSON's bytes */
    int64_t default_number;
    const uint8_t *default_text;
    uint8_t *validity;
    uint8_t *values;
    int32_t *ends;
} Column;

typedef struct {
    int32_t total, unknown, first, count; /* the keys of the message are keys[first] to keys[first + count - 1] */
    const Key *keys;
    const Column *columns;
    int64_t column_count; /* with the column of unknown fields, the last one, if they are kept */
    int64_t *batch_index;
    /* The names of unknown fields, if they are ignored: each with the batch index of its value. */
    int32_t *name_ends;
    uint8_t *names;
    int64_t *name_batch_index;
    int64_t max_names, max_name_bytes, name_count;
} Contract;

/* The order that is being read. */
typedef struct {
    Contract *contract;
    int64_t row;
    uint64_t has_column, has_key;
    int64_t number[MAX_COLUMNS];
    uint8_t *end[MAX_COLUMNS];
    int64_t batch_index;
} Order;

/* An object of the message that contains fields. `is_open` if unknown fields of it are kept. */
typedef struct Object {
    struct Object *outer;
    const Key *key; /* NULL for the message */
    int is_open;
} Object;

static inline const uint8_t *skip_space(const uint8_t *at, const uint8_t *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    return at;
}

static inline int is_digit(uint8_t byte) { return (uint8_t)(byte - '0') < 10; }

/* The following readers return the position after the value, or NULL if the value must take the exact path. */

/* Read an integer, without exponent or decimal point. */
static const uint8_t *read_integer(const uint8_t *at, const uint8_t *end, int64_t *into) {
    int negative = at < end && *at == '-';
    uint64_t value = 0;
    const uint8_t *start = at += negative;
    while (at < end && is_digit(*at) && at - start < 19) value = value * 10 + (uint64_t)(*at++ - '0');
    if (at == start || (*start == '0' && at - start > 1) || value > INT64_MAX || (at < end && is_digit(*at))) return NULL;
    if (negative && !value) return NULL;
    *into = negative ? -(int64_t)value : (int64_t)value;
    return at;
}

/* Read a number with at most `scale` digits after the decimal point, as a count of the last digit's unit. */
static const uint8_t *read_decimal(const uint8_t *at, const uint8_t *end, int scale, int64_t *into) {
    int negative = at < end && *at == '-', digits = 0;
    int64_t value = 0;
    const uint8_t *start = at += negative;
    while (at < end && is_digit(*at) && digits < 18) value = value * 10 + (*at++ - '0'), digits++;
    if (at == start || (*start == '0' && at - start > 1)) return NULL;
    if (at < end && *at == '.') {
        const uint8_t *point = at++;
        while (at < end && is_digit(*at) && at - point <= scale && digits < 18)
            value = value * 10 + (*at++ - '0'), digits++;
        if (at == point + 1) return NULL;
        scale -= (int)(at - point - 1);
    }
    while (scale--) {
        if (digits++ >= 18) return NULL;
        value *= 10;
    }
    *into = negative ? -value : value;
    return at;
}

static int hexadecimal(const uint8_t *at, const uint8_t *end) {
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
static const uint8_t *read_escape(const uint8_t *at, const uint8_t *end, uint8_t **into) {
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    uint8_t *out = *into;
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
static int utf8_length(const uint8_t *at, const uint8_t *end) {
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

/* Read a JSON string of at most `most` characters. It never writes more bytes than it reads. */
static const uint8_t *read_text(const uint8_t *at, const uint8_t *end, uint8_t **into, int64_t least, int64_t most) {
    uint8_t *out = *into;
    int64_t characters = 0;
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
    return characters >= least ? at + 1 : NULL;
}

static uint8_t *append(uint8_t *out, const uint8_t *bytes, int64_t count) {
    if (count) memcpy(out, bytes, (size_t)count);
    return out + count;
}

/* Copy a JSON string in its canonical notation, or skip it if there is no `out`. A key must not have escapes. */
static const uint8_t *copy_string(const uint8_t *at, const uint8_t *end, uint8_t **out, int is_key) {
    static const char names[] = "\"\\/bfnrt";
    if (at == end || *at != '"') return NULL;
    const uint8_t *start = at++;
    while (at < end && *at != '"') {
        if (*at < 0x20) return NULL;
        if (*at >= 0x80) {
            int length = utf8_length(at, end);
            if (!length) return NULL;
            at += length;
        } else if (*at++ == '\\') {
            if (is_key || at == end || !*at) return NULL;
            if (*at == 'u' && *out) {
                *out = append(*out, start, at - 1 - start);
                uint8_t *character = *out;
                if (!(at = read_escape(at, end, out)) || *character < 0x20) return NULL;
                if (*character == '"' || *character == '\\') {
                    character[1] = character[0];
                    *character = '\\';
                    ++*out;
                }
                start = at;
            } else if (*at == 'u') {
                if (hexadecimal(at + 1, end) < 0) return NULL;
                at += 5;
            } else if (!strchr(names, *at++)) {
                return NULL;
            } else if (*out && at[-1] == '/') { /* the canonical notation has no backslash here */
                *out = append(*out, start, at - 2 - start);
                start = at - 1;
            }
        }
    }
    if (at == end) return NULL;
    at++;
    if (*out) *out = append(*out, start, at - start);
    return at;
}

static const uint8_t *skip_digits(const uint8_t *at, const uint8_t *end) {
    while (at < end && is_digit(*at)) at++;
    return at;
}

static const uint8_t *skip_number(const uint8_t *at, const uint8_t *end) {
    const uint8_t *start = at += *at == '-';
    if ((at = skip_digits(at, end)) == start || (*start == '0' && at - start > 1)) return NULL;
    if (at < end && *at == '.') {
        start = ++at;
        if ((at = skip_digits(at, end)) == start) return NULL;
    }
    if (at < end && (*at | 0x20) == 'e') {
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        start = at;
        if ((at = skip_digits(at, end)) == start) return NULL;
    }
    return at;
}

static const uint8_t *skip_word(const uint8_t *at, const uint8_t *end, const char *word) {
    size_t length = strlen(word);
    return (size_t)(end - at) >= length && !memcmp(at, word, length) ? at + length : NULL;
}

/* The keys of an object so far. */
typedef struct {
    const uint8_t *start[MAX_KEYS];
    int64_t length[MAX_KEYS];
    int count;
} Seen;

/* Add a key. Return 0 if it is there, or if there are too many. */
static int add_key(Seen *seen, const uint8_t *start, int64_t length) {
    if (seen->count == MAX_KEYS) return 0;
    for (int key = 0; key < seen->count; key++)
        if (seen->length[key] == length && !memcmp(seen->start[key], start, (size_t)length)) return 0;
    seen->start[seen->count] = start;
    seen->length[seen->count++] = length;
    return 1;
}

static void put(uint8_t **out, uint8_t byte) {
    if (*out) *(*out)++ = byte;
}

/* Copy a JSON value without white space, or skip it if there is no `out`. */
static const uint8_t *copy_json(const uint8_t *at, const uint8_t *end, uint8_t **out, int depth) {
    if (at == end || depth == MAX_DEPTH) return NULL;
    const uint8_t *start = at;
    if (*at == '"') return copy_string(at, end, out, 0);
    if (*at == '{' || *at == '[') {
        uint8_t is_object = *at == '{', close = is_object ? '}' : ']';
        Seen seen;
        seen.count = 0;
        put(out, *at);
        at = skip_space(at + 1, end);
        if (at < end && *at == close) {
            put(out, close);
            return at + 1;
        }
        for (;;) {
            if (is_object) {
                const uint8_t *key = at;
                if (!(at = copy_string(at, end, out, 1)) || !add_key(&seen, key, at - key)) return NULL;
                at = skip_space(at, end);
                if (at == end || *at++ != ':') return NULL;
                put(out, ':');
                at = skip_space(at, end);
            }
            if (!(at = copy_json(at, end, out, depth + 1))) return NULL;
            at = skip_space(at, end);
            if (at == end || (*at != ',' && *at != close)) return NULL;
            put(out, *at);
            if (*at++ == close) return at;
            at = skip_space(at, end);
        }
    }
    at = *at == 't'   ? skip_word(at, end, "true")
         : *at == 'f' ? skip_word(at, end, "false")
         : *at == 'n' ? skip_word(at, end, "null")
                      : skip_number(at, end);
    if (at && *out) *out = append(*out, start, at - start);
    return at;
}

static int number(const uint8_t *text, int digits) {
    int value = 0;
    while (digits--) value = value * 10 + (*text++ - '0');
    return value;
}

static uint8_t *write_digits(uint8_t *out, int64_t value, int digits) {
    for (int at = digits - 1; at >= 0; at--, value /= 10) out[at] = (uint8_t)('0' + value % 10);
    return out + digits;
}

/* The shape of a time: 0 for a digit. */
static int has_shape(const uint8_t *text, const char *shape) {
    for (; *shape; shape++, text++)
        if (*shape == '0' ? !is_digit(*text) : *text != *shape) return 0;
    return 1;
}

/* The number of days from 1970-01-01 to this date of the proleptic Gregorian calendar; years begin in March here.
 * Howard Hinnant's algorithm: https://howardhinnant.github.io/date_algorithms.html
 */
static int64_t days_from_civil(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = year / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* Write the time of these seconds since 1970 as YYYY-MM-DDTHH:MM:SS. Return NULL outside of the years 1 to 9999. */
static uint8_t *write_second(uint8_t *out, int64_t seconds) {
    if (seconds < -62135596800 || seconds > 253402300799) return NULL;
    int64_t days = (seconds + 62135596800) / 86400 - 719162, second = (seconds + 62135596800) % 86400;
    int64_t shifted = days + 719468, era = shifted / 146097, of_era = shifted - era * 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * of_year + 2) / 153, day = of_year - (153 * shifted_month + 2) / 5 + 1;
    int64_t month = shifted_month + (shifted_month < 10 ? 3 : -9);
    out = write_digits(out, year_of_era + era * 400 + (month <= 2), 4);
    *out++ = '-';
    out = write_digits(out, month, 2);
    *out++ = '-';
    out = write_digits(out, day, 2);
    *out++ = 'T';
    out = write_digits(out, second / 3600, 2);
    *out++ = ':';
    out = write_digits(out, second / 60 % 60, 2);
    *out++ = ':';
    return write_digits(out, second % 60, 2);
}

/* Write `scale` digits of these digits after the second. Return NULL if a later one is not 0. */
static uint8_t *write_fraction(uint8_t *out, const uint8_t *digits, int64_t count, int scale) {
    for (int64_t at = scale; at < count; at++)
        if (digits[at] != '0') return NULL;
    if (scale) *out++ = '.';
    for (int at = 0; at < scale; at++) *out++ = at < count ? digits[at] : '0';
    return out;
}

/* Write a time of the message in UTC. Return NULL if it must take the exact path. */
static uint8_t *write_utc(uint8_t *out, const uint8_t *text, int64_t length, const Column *column) {
    static const uint8_t days[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const uint8_t *end = text + length, *at = text + 19;
    if (length < 19 || !has_shape(text, "0000-00-00") || !has_shape(text + 11, "00:00:00")) return NULL;
    int is_separator = text[10] == 'T' || (column->type == RFC3339 && (text[10] == 't' || text[10] == ' '));
    int year = number(text, 4), month = number(text + 5, 2), day = number(text + 8, 2);
    int hour = number(text + 11, 2), minute = number(text + 14, 2), second = number(text + 17, 2);
    int leap = month == 2 && year % 4 == 0 && (year % 100 || year % 400 == 0);
    if (!is_separator || !year || month < 1 || month > 12 || day < 1 || day > days[month] + leap) return NULL;
    if (hour > 23 || minute > 59 || second > 59) return NULL;
    const uint8_t *fraction = at;
    int64_t digits = 0;
    if (at < end && *at == '.') {
        if (column->type == UTC && !column->scale) return NULL;
        fraction = at + 1;
        at = skip_digits(fraction, end);
        digits = at - fraction;
        if (!digits || digits > 9) return NULL;
    }
    if (column->type == UTC) {
        if (at != end) return NULL;
        memcpy(out, text, 19);
        return write_fraction(out + 19, fraction, digits, column->scale);
    }
    int64_t offset = 0; /* seconds ahead of UTC */
    if (at == end) return NULL;
    if (*at == 'Z' || *at == 'z') {
        at++;
    } else {
        if (end - at != 6 || (*at != '+' && *at != '-') || !has_shape(at + 1, "00:00")) return NULL;
        int hours = number(at + 1, 2), minutes = number(at + 4, 2);
        if (hours > 23 || minutes > 59) return NULL;
        offset = (*at == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
        at += 6;
    }
    if (at != end) return NULL;
    int64_t time = days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    out = write_second(out, time);
    return out ? write_fraction(out, fraction, digits, column->scale) : NULL;
}

static uint8_t *write_epoch(uint8_t *out, int64_t milliseconds, const Column *column) {
    uint8_t digits[3];
    if (milliseconds < 0) return NULL;
    write_digits(digits, milliseconds % 1000, 3);
    out = write_second(out, milliseconds / 1000);
    return out ? write_fraction(out, digits, 3, column->scale) : NULL;
}

static uint8_t *start_of(const Column *column, int64_t row) { return column->values + column->ends[row]; }

/* Read a number that the message has as a JSON number, or in a string. */
static const uint8_t *read_number(const uint8_t *at, const uint8_t *end, const Column *column, int64_t *into) {
    int is_string = at < end && *at == '"';
    if (!(column->from & (is_string ? FROM_STRING : FROM_NUMBER))) return NULL;
    at += is_string;
    at = column->type == DECIMAL ? read_decimal(at, end, column->scale, into) : read_integer(at, end, into);
    if (!at || *into < column->lowest || *into > column->highest) return NULL;
    if (!is_string) return at;
    return at < end && *at == '"' ? at + 1 : NULL;
}

static uint8_t *write_signed(uint8_t *out, int64_t value);

/* Read the value of a column into the order's row. */
static const uint8_t *read_value(const uint8_t *at, const uint8_t *end, Order *order, int index) {
    const Column *column = &order->contract->columns[index];
    uint8_t text[4 * LONGEST_TIME];
    uint8_t *out = text, *start;
    int64_t value;
    switch (column->type) {
    case STRING:
        order->end[index] = start_of(column, order->row);
        return read_text(at, end, &order->end[index], column->lowest, column->highest);
    case IDENTIFIER:
        start = order->end[index] = start_of(column, order->row);
        if (column->from) { /* an integer */
            if (!(at = read_number(at, end, column, &value))) return NULL;
            order->end[index] = write_signed(start, value);
            return at;
        }
        if (!(at = read_text(at, end, &order->end[index], column->lowest, column->highest))) return NULL;
        for (; start < order->end[index]; start++)
            if (*start <= ' ' || *start > '~') return NULL;
        return at;
    case INTEGER:
    case DECIMAL: return read_number(at, end, column, &order->number[index]);
    case BOOLEAN: {
        const uint8_t *after = skip_word(at, end, "true");
        order->number[index] = after != NULL;
        return after ? after : skip_word(at, end, "false");
    }
    case UTC:
    case RFC3339:
        if (!(at = read_text(at, end, &out, 0, LONGEST_TIME))) return NULL;
        order->end[index] = write_utc(start_of(column, order->row), text, out - text, column);
        return order->end[index] ? at : NULL;
    case EPOCH_MS:
        if (!(at = read_number(at, end, column, &value))) return NULL;
        order->end[index] = write_epoch(start_of(column, order->row), value, column);
        return order->end[index] ? at : NULL;
    case JSON:
        start = order->end[index] = start_of(column, order->row);
        if (!(at = copy_json(at, end, &order->end[index], 1))) return NULL;
        return order->end[index] - start <= column->highest ? at : NULL;
    }
    return NULL;
}

/* Begin an unknown field of the object in the text of the fields that are kept. */
static uint8_t *open_object(uint8_t *out, Object *object) {
    if (object->is_open) {
        *out++ = ',';
    } else {
        if (object->key) {
            out = open_object(out, object->outer);
            *out++ = '"';
            out = append(out, object->key->name, object->key->length);
            *out++ = '"';
            *out++ = ':';
        }
        *out++ = '{';
        object->is_open = 1;
    }
    return out;
}

/* Count or keep an unknown field, whose key begins here. */
static const uint8_t *read_unknown(const uint8_t *at, const uint8_t *end, Order *order, Object *object, Seen *seen) {
    Contract *contract = order->contract;
    uint8_t **kept = &order->end[contract->column_count - 1], *none = NULL;
    const uint8_t *key = at;
    if (contract->unknown == REJECT) return NULL;
    if (!(at = copy_string(at, end, &none, 1)) || !add_key(seen, key, at - key)) return NULL;
    if (contract->unknown == KEEP) {
        *kept = append(open_object(*kept, object), key, at - key);
        *(*kept)++ = ':';
    } else {
        int64_t length = at - key - 2, path = object->key ? object->key->path_length : 0;
        int64_t start = contract->name_ends[contract->name_count];
        if (contract->name_count == contract->max_names || start + path + length > contract->max_name_bytes) return NULL;
        uint8_t *name = contract->names + start;
        if (path) name = append(name, object->key->path, path);
        name = append(name, key + 1, length);
        contract->name_batch_index[contract->name_count++] = order->batch_index;
        contract->name_ends[contract->name_count] = (int32_t)(name - contract->names);
    }
    at = skip_space(at, end);
    if (at == end || *at++ != ':') return NULL;
    return copy_json(skip_space(at, end), end, contract->unknown == KEEP ? kept : &none, 1);
}

/* The key of these before the closing quote, or -1. `expected` is tried first: keys usually come in the same order. */
static int find_key(const uint8_t *at, const uint8_t *end, const Key *keys, int count, int expected) {
    int64_t left = end - at;
    for (int tried = 0; tried < count; tried++) {
        int key = expected + tried < count ? expected + tried : expected + tried - count;
        int64_t length = keys[key].length;
        if (left > length && at[length] == '"' && !memcmp(at, keys[key].name, (size_t)length)) return key;
    }
    return -1;
}

/* Read an object that contains fields; its keys are keys[first] to keys[first + count - 1]. */
static const uint8_t *read_object(const uint8_t *at, const uint8_t *end, Order *order, Object *object, int first,
                                  int count) {
    const Key *keys = order->contract->keys + first;
    Seen seen;
    seen.count = 0;
    if (at == end || *at++ != '{') return NULL;
    at = skip_space(at, end);
    if (at < end && *at == '}') return at + 1;
    for (int expected = 0;; expected++) {
        if (at == end || *at != '"') return NULL;
        if (expected >= count) expected = 0;
        int found = find_key(at + 1, end, keys, count, expected);
        if (found < 0) {
            if (!(at = read_unknown(at, end, order, object, &seen))) return NULL;
            expected--;
        } else {
            const Key *key = keys + found;
            expected = found;
            if (order->has_key >> (first + found) & 1) return NULL;
            order->has_key |= 1ull << (first + found);
            at = skip_space(at + key->length + 2, end);
            if (at == end || *at++ != ':') return NULL;
            at = skip_space(at, end);
            const uint8_t *after_null = at < end && *at == 'n' ? skip_word(at, end, "null") : NULL;
            if (after_null) {
                at = after_null; /* like a missing field, if it is optional */
            } else if (key->column < 0) {
                Object inner = {object, key, 0};
                if (!(at = read_object(at, end, order, &inner, key->first, key->count))) return NULL;
            } else if (key->column == TOTAL && order->contract->total == COMPUTED) {
                uint8_t *none = NULL;
                if (!(at = copy_json(at, end, &none, 1))) return NULL;
            } else {
                if (!(at = read_value(at, end, order, key->column))) return NULL;
                order->has_column |= 1ull << key->column;
            }
        }
        at = skip_space(at, end);
        if (at == end || (*at != ',' && *at != '}')) return NULL;
        if (*at++ == '}') break;
        at = skip_space(at, end);
    }
    if (object->is_open) *order->end[order->contract->column_count - 1]++ = '}';
    return at;
}

/* Read the value into the order's row. Return 0 if it must take the exact path. */
static int read_order(const uint8_t *at, const uint8_t *end, Order *order) {
    const Contract *contract = order->contract;
    int64_t row = order->row;
    Object message = {NULL, NULL, 0};
    order->has_column = order->has_key = 0;
    if (contract->unknown == KEEP)
        order->end[contract->column_count - 1] = start_of(&contract->columns[contract->column_count - 1], row);
    at = read_object(skip_space(at, end), end, order, &message, contract->first, contract->count);
    if (!at || skip_space(at, end) != end) return 0;
    if (message.is_open) order->has_column |= 1ull << (contract->column_count - 1);
    for (int index = 0; index < contract->column_count; index++) {
        const Column *column = &contract->columns[index];
        int has_value = order->has_column >> index & 1;
        if (!has_value && index == TOTAL && contract->total == COMPUTED) {
            has_value = 1;
        } else if (!has_value) {
            if (column->is_required) return 0;
            has_value = column->has_default;
            order->number[index] = column->default_number;
            if (column->ends) order->end[index] = append(start_of(column, row), column->default_text, column->default_length);
        }
        if (column->validity) {
            uint8_t bit = (uint8_t)(1 << (row & 7));
            column->validity[row >> 3] = (uint8_t)(has_value ? column->validity[row >> 3] | bit : column->validity[row >> 3] & ~bit);
        }
    }
    __int128 product = (__int128)order->number[PRICE] * order->number[QUANTITY];
    if (contract->total == COMPUTED) {
        if (product < contract->columns[TOTAL].lowest || product > contract->columns[TOTAL].highest) return 0;
        order->number[TOTAL] = (int64_t)product;
    } else if (contract->total == CHECKED && product != order->number[TOTAL]) {
        return 0;
    }
    for (int index = 0; index < contract->column_count; index++) {
        const Column *column = &contract->columns[index];
        int64_t value = order->number[index];
        switch (column->width) {
        case 0: column->ends[row + 1] = (int32_t)(order->end[index] - column->values); break;
        case 1: ((int8_t *)column->values)[row] = (int8_t)value; break;
        case 4: ((int32_t *)column->values)[row] = (int32_t)value; break;
        case 8: ((int64_t *)column->values)[row] = value; break;
        case 16:
            ((int64_t *)column->values)[2 * row] = value;
            ((int64_t *)column->values)[2 * row + 1] = value < 0 ? -1 : 0;
            break;
        }
    }
    return 1;
}

/* Decode `values` values, which are contiguous in `data`, into columns. Return the number of decoded orders.
 * Each column must have space for `values` rows. A text column needs as many bytes as all values have, and the default's
 * bytes for each row; times need TIME bytes for each row.
 */
int64_t orderflow_read(int64_t values, const int64_t *ends, const uint8_t *data, Contract *contract) {
    Order order;
    order.contract = contract;
    order.row = 0;
    contract->name_count = 0;
    for (int64_t index = 0; index < values; index++) {
        int64_t names = contract->name_count;
        order.batch_index = index;
        const uint8_t *at = data + ends[index], *end = data + ends[index + 1];
        if (end - at <= MAX_VALUE_BYTES && read_order(at, end, &order)) contract->batch_index[order.row++] = index;
        else contract->name_count = names;
    }
    return order.row;
}

/* A column to write. For texts, `values` are their bytes and `ends` their ends. Identifiers need no escaping.
 * Of a time, only the digits and the decimal point are written, which MySQL parses faster. A NULL becomes \\N.
 */
typedef struct {
    enum { WRITE_INT8, WRITE_INT32, WRITE_INT64, WRITE_DECIMAL, WRITE_IDENTIFIER, WRITE_TIME, WRITE_TEXT } type;
    int32_t scale;
    int64_t first; /* the position of the first row in `validity` */
    const uint8_t *validity;   /* a bit for each row: 1 if it has a value; NULL if all have */
    const int32_t *ends;
    const void *values;
} Written;

static uint8_t *write_number(uint8_t *out, unsigned __int128 value, int digits_at_least) {
    uint8_t digits[40];
    int count = 0;
    while (value > UINT64_MAX) digits[count++] = (uint8_t)('0' + value % 10), value /= 10;
    uint64_t rest = (uint64_t)value;
    do digits[count++] = (uint8_t)('0' + rest % 10);
    while (rest /= 10);
    while (count < digits_at_least) digits[count++] = '0';
    while (count) *out++ = digits[--count];
    return out;
}

static uint8_t *write_signed(uint8_t *out, int64_t value) {
    if (value < 0) *out++ = '-';
    return write_number(out, value < 0 ? -(uint64_t)value : (uint64_t)value, 1);
}

/* Write a count of a decimal's last digit. */
static uint8_t *write_decimal(uint8_t *out, const void *values, int64_t row, int scale) {
    __int128 value;
    memcpy(&value, (const uint8_t *)values + 16 * row, 16);
    if (value < 0) *out++ = '-', value = -value;
    uint8_t *end = write_number(out, (unsigned __int128)value, scale + 1);
    if (!scale) return end;
    memmove(end - scale + 1, end - scale, (size_t)scale);
    end[-scale] = '.';
    return end + 1;
}

static uint8_t *write_time(uint8_t *out, const uint8_t *text, const uint8_t *end) {
    for (; text < end; text++)
        if (is_digit(*text) || *text == '.') *out++ = *text;
    return out;
}
static uint8_t *write_escaped(uint8_t *out, const uint8_t *text, const uint8_t *end) {
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
 * written: at most 45 for each number, and for each text at most twice its bytes and three more.
 */
int64_t orderflow_write(int64_t rows, int64_t columns, const Written *column, uint8_t *start) {
    uint8_t *out = start;
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t at = 0; at < columns; at++) {
            const Written *to = &column[at];
            const int32_t *ends = to->ends ? to->ends + row : NULL;
            const uint8_t *bytes = to->values; /* of texts */
            int64_t bit = to->first + row;
            if (to->validity && !(to->validity[bit >> 3] >> (bit & 7) & 1)) {
                *out++ = '\\';
                *out++ = 'N';
            } else {
                switch (to->type) {
                case WRITE_INT8: out = write_signed(out, ((const int8_t *)to->values)[row]); break;
                case WRITE_INT32: out = write_signed(out, ((const int32_t *)to->values)[row]); break;
                case WRITE_INT64: out = write_signed(out, ((const int64_t *)to->values)[row]); break;
                case WRITE_DECIMAL: out = write_decimal(out, to->values, row, to->scale); break;
                case WRITE_IDENTIFIER: out = append(out, bytes + ends[0], ends[1] - ends[0]); break;
                case WRITE_TIME: out = write_time(out, bytes + ends[0], bytes + ends[1]); break;
                case WRITE_TEXT: out = write_escaped(out, bytes + ends[0], bytes + ends[1]); break;
                }
            }
            *out++ = at < columns - 1 ? '\t' : '\n';
        }
    }
    return out - start;
}
