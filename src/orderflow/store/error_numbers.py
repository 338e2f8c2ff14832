"""The error numbers of MySQL and MariaDB, grouped by their meaning for a write or a login.

Sources: MySQL 9.x Error Reference ("Server Error Message Reference", "Client Error Message Reference" and "Global Error
Message Reference"), and "MariaDB Error Codes" of MariaDB's Knowledge Base. Names are those of these lists without ER_
and EE_; "WSREP" marks Galera's use of a number. Up to 1879, a number means the same on both servers. Some higher
numbers have another meaning on each server; the groups follow the meaning that a write or a login can cause.

An error whose number is in no group may be temporary or permanent: see UnknownDatabaseError. docs/database-errors.md
has the same table, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class ErrorGroup(NamedTuple):
    """Error numbers with the same cause and the same fix. `problem` completes the sentence "MySQL at host:port …"."""

    problem: str
    hint: str
    numbers: Mapping[int, str]


CONTENTION_HINT = "Another session holds locks on the tables: SHOW PROCESSLIST shows it."
# fmt: off
CONTENTION: Mapping[int, str] = {
    1020: "CHECKREAD", 1205: "LOCK_WAIT_TIMEOUT", 1213: "LOCK_DEADLOCK", 1412: "TABLE_DEF_CHANGED",
    1613: "XA_RBTIMEOUT", 1614: "XA_RBDEADLOCK", 1615: "NEED_REPREPARE", 1689: "LOCK_ABORTED",
    1725: "TABLE_IN_FK_CHECK", 1964: "PRIOR_COMMIT_FAILED",  # MariaDB
    3058: "USER_LOCK_DEADLOCK", 3101: "TRANSACTION_ROLLBACK_DURING_COMMIT",  # certification in group replication
    3132: "LOCKING_SERVICE_DEADLOCK", 3133: "LOCKING_SERVICE_TIMEOUT", 3572: "LOCK_NOWAIT",
}

UNAVAILABLE_GROUPS = (
    ErrorGroup("cannot take writes now", "", {
        1053: "SERVER_SHUTDOWN", 1079: "SHUTDOWN_COMPLETE", 1080: "FORCING_CLOSE", 1180: "ERROR_DURING_COMMIT",
        1181: "ERROR_DURING_ROLLBACK", 1290: "OPTION_PREVENTS_STATEMENT",  # --read-only
        1296: "GET_ERRMSG", 1297: "GET_TEMPORARY_ERRMSG", 1317: "QUERY_INTERRUPTED", 1792:
        "CANT_EXECUTE_IN_READ_ONLY_TRANSACTION", 1836: "READ_ONLY_MODE", 1874: "INNODB_READ_ONLY",
        1881: "INNODB_FORCED_RECOVERY", 3032: "SERVER_OFFLINE_MODE", 3166: "BUFPOOL_RESIZE_INPROGRESS",
        3168: "SERVER_ISNT_AVAILABLE", 3633: "CLONE_DDL_IN_PROGRESS", 3989: "SCHEMA_READ_ONLY",
        4145: "BACKUP_LOCK_IS_ACTIVE",  # MariaDB
    }),
    ErrorGroup("cannot write its files now", "Look at the server's disk, its tmpdir and its error log.", {
        1: "CANTCREATEFILE", 2: "READ", 3: "WRITE", 4: "BADCLOSE", 6: "DELETE", 7: "LINK", 9: "EOFERR", 10: "CANTLOCK",
        11: "CANTUNLOCK", 12: "DIR", 13: "STAT", 14: "CANT_CHSIZE", 15: "CANT_OPEN_STREAM", 16: "GETWD", 17: "SETWD",
        18: "LINK_WARNING", 19: "OPEN_WARNING", 20: "DISK_FULL", 21: "CANT_MKDIR", 23: "OUT_OF_FILERESOURCES",
        24: "CANT_READLINK", 25: "CANT_SYMLINK", 26: "REALPATH", 27: "SYNC", 29: "FILENOTFOUND",
        30: "FILE_NOT_CLOSED", 31: "CHANGE_OWNERSHIP", 32: "CHANGE_PERMISSIONS", 33: "CANT_SEEK",
        1004: "CANT_CREATE_FILE", 1013: "CANT_GET_STAT", 1015: "CANT_LOCK", 1016: "CANT_OPEN_FILE",
        1017: "FILE_NOT_FOUND", 1018: "CANT_READ_DIR", 1021: "DISK_FULL", 1023: "ERROR_ON_CLOSE",
        1024: "ERROR_ON_READ", 1026: "ERROR_ON_WRITE", 1028: "FILSORT_ABORT", 1030: "GET_ERRNO",
        1114: "RECORD_FILE_FULL", 1376: "FSEEK_FAIL", 1810: "IO_READ_ERROR", 1811: "IO_WRITE_ERROR",
        1878: "TEMP_FILE_WRITE_FAILURE", 3019: "INNODB_UNDO_LOG_FULL", 3675: "DISK_FULL_NOWAIT",
        3884: "NO_SESSION_TEMP", 4139: "INDEX_FILE_FULL",  # the last one of MariaDB
    }),
    ErrorGroup("cannot write its binary log now", "Look at the server's error log.", {
        1182: "ERROR_DURING_FLUSH_LOGS", 1374: "IO_ERR_LOG_INDEX_READ", 1534: "BINLOG_ROW_LOGGING_FAILED",
        1587: "BINLOG_PURGE_EMFILE", 1593: "BINLOG_FATAL_ERROR",
    }),
    ErrorGroup("is out of memory or other resources now", "", {
        5: "OUTOFMEMORY", 34: "CAPACITY_EXCEEDED", 1037: "OUTOFMEMORY", 1038: "OUT_OF_SORTMEMORY",
        1041: "OUT_OF_RESOURCES", 1119: "STACK_OVERRUN", 1135: "CANT_CREATE_THREAD", 1257: "ZLIB_Z_MEM_ERROR",
        1436: "STACK_OVERRUN_NEED_MORE", 1461: "MAX_PREPARED_STMT_COUNT_REACHED", 1637: "TOO_MANY_CONCURRENT_TRXS",
        3015: "ENGINE_OUT_OF_MEMORY", 3044: "STD_BAD_ALLOC_ERROR", 3170: "CAPACITY_EXCEEDED", 3950: "DA_OOM",
        3985: "MDL_OUT_OF_RESOURCES",
    }),
    ErrorGroup(
        "has no room for more locks", "End the large transaction that holds them, or raise innodb_buffer_pool_size.",
        {1206: "LOCK_TABLE_FULL"},
    ),
    ErrorGroup(
        "has no free connection now", "Raise its max_connections, or the user's limits, or close other sessions.",
        {1040: "CON_COUNT_ERROR", 1203: "TOO_MANY_USER_CONNECTIONS", 1226: "USER_LIMIT_REACHED"},
    ),
    ErrorGroup(
        "has blocked this host after many failed connections",
        "As administrator: TRUNCATE TABLE performance_schema.host_cache; on MariaDB: FLUSH HOSTS;",
        {1129: "HOST_IS_BLOCKED"},
    ),
    ErrorGroup("has ended the connection", "", {
        1042: "BAD_HOST_ERROR", 1043: "HANDSHAKE_ERROR", 1081: "IPSOCK_ERROR", 1152: "ABORTING_CONNECTION",
        1154: "NET_READ_ERROR_FROM_PIPE", 1155: "NET_FCNTL_ERROR", 1156: "NET_PACKETS_OUT_OF_ORDER",
        1157: "NET_UNCOMPRESS_ERROR", 1158: "NET_READ_ERROR", 1159: "NET_READ_INTERRUPTED", 1160: "NET_ERROR_ON_WRITE",
        1161: "NET_WRITE_INTERRUPTED", 1184: "NEW_ABORTING_CONNECTION", 1835: "MALFORMED_PACKET",
        1927: "CONNECTION_KILLED",  # MariaDB
        3169: "SESSION_WAS_KILLED", 4031: "CLIENT_INTERACTION_TIMEOUT",
    }),
    ErrorGroup(
        "has ended a statement that ran for too long",
        "Another session may hold locks on the tables: SHOW PROCESSLIST shows it. Otherwise check the server's load and"
        " its time limit.",
        {
            1969: "STATEMENT_TIMEOUT",  # MariaDB's max_statement_time
            3024: "QUERY_TIMEOUT",  # MySQL's max_execution_time
        },
    ),
    ErrorGroup("cannot write as a member of its cluster now", "Check that its cluster has a primary and a majority.", {
        1047: "UNKNOWN_COM_ERROR",  # WSREP: not prepared
        3092: "GROUP_REPLICATION_CONFIGURATION", 3096: "GROUP_REPLICATION_COMMUNICATION_LAYER_SESSION_ERROR",
        3097: "GROUP_REPLICATION_COMMUNICATION_LAYER_JOIN_ERROR", 3100: "RUN_HOOK_ERROR",
        3781: "GR_HOLD_WAIT_TIMEOUT", 3782: "GR_HOLD_KILLED", 3783: "GR_HOLD_MEMBER_STATUS_ERROR",
        3797: "GRP_TRX_CONSISTENCY_BEFORE", 3798: "GRP_TRX_CONSISTENCY_AFTER_ON_TRX_BEGIN",
        3799: "GRP_TRX_CONSISTENCY_BEGIN_NOT_ALLOWED", 4049: "OPERATION_NOT_ALLOWED_ON_GR_SECONDARY",
    }),
)

# The transaction is too large. Smaller ones may succeed.
TOO_LARGE_TRANSACTION: Mapping[int, str] = {
    1197: "TRANS_CACHE_FULL", 1705: "STMT_CACHE_FULL", 3230: "WRITE_SET_EXCEEDS_LIMIT",
}

# Errors of a statement that writes orders, caused by the values of a row. A trigger can also raise other numbers.
ROW_AT_FAULT: Mapping[int, str] = {
    1022: "DUP_KEY", 1048: "BAD_NULL_ERROR", 1062: "DUP_ENTRY", 1118: "TOO_BIG_ROWSIZE", 1169: "DUP_UNIQUE",
    1172: "TOO_MANY_ROWS", 1216: "NO_REFERENCED_ROW", 1242: "SUBQUERY_NO_1_ROW", 1264: "WARN_DATA_OUT_OF_RANGE",
    1265: "WARN_DATA_TRUNCATED", 1292: "TRUNCATED_WRONG_VALUE", 1300: "INVALID_CHARACTER_STRING",
    1329: "SP_FETCH_NO_DATA", 1339: "SP_CASE_NOT_FOUND", 1365: "DIVISION_BY_ZERO",
    1366: "TRUNCATED_WRONG_VALUE_FOR_FIELD", 1367: "ILLEGAL_VALUE_FOR_TYPE", 1369: "VIEW_CHECK_FAILED",
    1406: "DATA_TOO_LONG", 1411: "WRONG_VALUE_FOR_TYPE", 1416: "CANT_CREATE_GEOMETRY_OBJECT",
    1441: "DATETIME_FUNCTION_OVERFLOW", 1452: "NO_REFERENCED_ROW_2", 1526: "NO_PARTITION_FOR_GIVEN_VALUE",
    1586: "DUP_ENTRY_WITH_KEY_NAME", 1591: "NO_PARTITION_FOR_GIVEN_VALUE_SILENT", 1643: "SIGNAL_NOT_FOUND",
    1644: "SIGNAL_EXCEPTION", 1690: "DATA_OUT_OF_RANGE", 1713: "UNDO_RECORD_TOO_BIG", 1748:
    "ROW_DOES_NOT_MATCH_GIVEN_PARTITION_SET", 1761: "FOREIGN_DUPLICATE_KEY_WITH_CHILD_INFO",
    1762: "FOREIGN_DUPLICATE_KEY_WITHOUT_CHILD_INFO", 1916: "DATA_OVERFLOW", 1917: "DATA_TRUNCATED", 1918: "BAD_DATA",
    3140: "INVALID_JSON_TEXT", 3141: "INVALID_JSON_TEXT_IN_PARAM", 3673: "BAD_NULL_ERROR_NOT_IGNORED",
    3819: "CHECK_CONSTRAINT_VIOLATED", 3854: "CANNOT_CONVERT_STRING", 3988: "IMPOSSIBLE_STRING_CONVERSION",
    4025: "CONSTRAINT_FAILED",  # MariaDB
}

_USER = "Set {prefix}_USER and {prefix}_PASSWORD (or {prefix}_PASSWORD_FILE) to a user of the server and its password."
REFUSED_GROUPS = (
    ErrorGroup("refuses user {user}", _USER, {
        1045: "ACCESS_DENIED_ERROR", 1698: "ACCESS_DENIED_NO_PASSWORD_ERROR", 1873: "ACCESS_DENIED_CHANGE_USER_ERROR",
    }),
    ErrorGroup(
        "refuses a statement, because user {user} lacks a privilege",
        "`orderflow init --grants` prints the GRANT statements that OrderFlow's users need.",
        {
            1044: "DBACCESS_DENIED_ERROR", 1142: "TABLEACCESS_DENIED_ERROR", 1143: "COLUMNACCESS_DENIED_ERROR",
            1227: "SPECIFIC_ACCESS_DENIED_ERROR", 1370: "PROCACCESS_DENIED_ERROR", 3879: "DB_ACCESS_DENIED",
        },
    ),
    ErrorGroup(
        "does not allow connections from this host",
        "Create the user for this host: CREATE USER '{user}'@'…'; with the host's name or address, or '%'.",
        {1130: "HOST_NOT_PRIVILEGED"},
    ),
    ErrorGroup(
        "refuses user {user}, because the password has expired",
        "ALTER USER '{user}'@'…' IDENTIFIED BY '…'; or ALTER USER '{user}'@'…' PASSWORD EXPIRE NEVER;",
        {1820: "MUST_CHANGE_PASSWORD", 1862: "MUST_CHANGE_PASSWORD_LOGIN"},
    ),
    ErrorGroup(
        "refuses user {user}, because the account is locked", "ALTER USER '{user}'@'…' ACCOUNT UNLOCK;",
        {3118: "ACCOUNT_HAS_BEEN_LOCKED", 4151: "ACCOUNT_HAS_BEEN_LOCKED"},  # MySQL, MariaDB
    ),
    ErrorGroup(
        "has locked user {user} after too many wrong passwords",
        "Correct {prefix}_PASSWORD, then: ALTER USER '{user}'@'…' ACCOUNT UNLOCK; on MariaDB: FLUSH PRIVILEGES;",
        {3955: "USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK", 4150: "USER_IS_BLOCKED"},
    ),
    ErrorGroup(
        "authenticates user {user} by a plugin that needs an encrypted connection, but offers no TLS",
        "Enable TLS at the server. MySQL generates certificates unless tls_version is empty.",
        {2061: "CR_AUTH_PLUGIN_ERR"},
    ),
    ErrorGroup(
        "requires TLS, and the connection has none",
        "OrderFlow uses TLS if the server offers it. Configure TLS at the server (ssl_cert, ssl_key), or connect"
        " without a proxy that removes it.",
        {3159: "SECURE_TRANSPORT_REQUIRED"},
    ),
    ErrorGroup(
        "authenticates user {user} by a plugin that this client or the server does not have",
        "Let the account use caching_sha2_password (MySQL) or mysql_native_password (MariaDB): ALTER USER … IDENTIFIED"
        " WITH …;",
        {
            1251: "NOT_SUPPORTED_AUTH_MODE", 1524: "PLUGIN_IS_NOT_LOADED", 2054: "CR_NOT_IMPLEMENTED",
            2059: "CR_AUTH_PLUGIN_CANNOT_LOAD", 2072: "CR_INVALID_FACTOR_NO",
        },
    ),
    ErrorGroup(
        "does not accept the TLS connection", "Check MYSQL_SSL_MODE, MYSQL_SSL_CA, MYSQL_SSL_CERT and MYSQL_SSL_KEY.",
        {2026: "CR_SSL_CONNECTION_ERROR"},
    ),
    ErrorGroup(
        "has no database {database}", "`orderflow init` creates it. Otherwise set MYSQL_DATABASE to another database.",
        {1049: "BAD_DB_ERROR"},
    ),
    ErrorGroup("accepts no record of this size", "Raise the server's max_allowed_packet.", {
        1153: "NET_PACKET_TOO_LARGE", 1301: "WARN_ALLOWED_PACKET_OVERFLOWED", 2020: "CR_NET_PACKET_TOO_LARGE",
    }),
    ErrorGroup(
        "has binlog_format STATEMENT, so it refuses READ COMMITTED transactions",
        "SET GLOBAL binlog_format = ROW; and set it in the server's configuration.",
        {
            1661: "BINLOG_ROW_ENGINE_AND_STMT_ENGINE", 1662: "BINLOG_ROW_MODE_AND_STMT_ENGINE",
            1663: "BINLOG_UNSAFE_AND_STMT_ENGINE", 1665: "BINLOG_STMT_MODE_AND_ROW_ENGINE",
        },
    ),
    ErrorGroup(
        "refuses a table that its replication settings do not allow",
        "Every table must be InnoDB and have a primary key.",
        {
            1785: "GTID_UNSAFE_NON_TRANSACTIONAL_TABLE", 3098: "BEFORE_DML_VALIDATION_ERROR",
            3161: "DISABLED_STORAGE_ENGINE", 3750: "TABLE_WITHOUT_PK",
        },
    ),
    ErrorGroup("has a damaged table", "Look at the server's error log, and restore the table.", {
        1034: "NOT_KEYFILE", 1035: "OLD_KEYFILE", 1194: "CRASHED_ON_USAGE", 1195: "CRASHED_ON_REPAIR",
        1459: "TABLE_NEEDS_UPGRADE", 1707: "TABLE_NEEDS_REBUILD", 1712: "INDEX_CORRUPT", 1817: "INNODB_INDEX_CORRUPT",
        1877: "TABLE_CORRUPT", 3000: "FILE_CORRUPT",
    }),
    ErrorGroup("refuses a statement", "`orderflow doctor` checks the tables, triggers and privileges.", {
        1005: "CANT_CREATE_TABLE", 1006: "CANT_CREATE_DB", 1036: "OPEN_AS_READONLY", 1046: "NO_DB_ERROR",
        1050: "TABLE_EXISTS_ERROR", 1051: "BAD_TABLE_ERROR", 1052: "NON_UNIQ_ERROR", 1054: "BAD_FIELD_ERROR",
        1055: "WRONG_FIELD_WITH_GROUP", 1058: "WRONG_VALUE_COUNT", 1059: "TOO_LONG_IDENT", 1060: "DUP_FIELDNAME",
        1061: "DUP_KEYNAME", 1064: "PARSE_ERROR", 1067: "INVALID_DEFAULT", 1068: "MULTIPLE_PRI_KEY",
        1069: "TOO_MANY_KEYS", 1070: "TOO_MANY_KEY_PARTS", 1071: "TOO_LONG_KEY", 1072: "KEY_COLUMN_DOES_NOT_EXITS",
        1091: "CANT_DROP_FIELD_OR_KEY", 1102: "WRONG_DB_NAME", 1103: "WRONG_TABLE_NAME", 1104: "TOO_BIG_SELECT",
        1109: "UNKNOWN_TABLE", 1113: "TABLE_MUST_HAVE_COLUMNS", 1115: "UNKNOWN_CHARACTER_SET",
        1117: "TOO_MANY_FIELDS", 1136: "WRONG_VALUE_COUNT_ON_ROW", 1138: "INVALID_USE_OF_NULL", 1146: "NO_SUCH_TABLE",
        1149: "SYNTAX_ERROR", 1166: "WRONG_COLUMN_NAME", 1173: "REQUIRES_PRIMARY_KEY",
        1175: "UPDATE_WITHOUT_KEY_IN_SAFE_MODE", 1176: "KEY_DOES_NOT_EXITS", 1193: "UNKNOWN_SYSTEM_VARIABLE",
        1228: "LOCAL_VARIABLE", 1229: "GLOBAL_VARIABLE", 1231: "WRONG_VALUE_FOR_VAR", 1232: "WRONG_TYPE_FOR_VAR",
        1235: "NOT_SUPPORTED_YET", 1238: "INCORRECT_GLOBAL_LOCAL_VAR", 1267: "CANT_AGGREGATE_2COLLATIONS",
        1271: "CANT_AGGREGATE_NCOLLATIONS", 1273: "UNKNOWN_COLLATION", 1286: "UNKNOWN_STORAGE_ENGINE",
        1288: "NON_UPDATABLE_TABLE", 1289: "FEATURE_DISABLED", 1295: "UNSUPPORTED_PS", 1298: "UNKNOWN_TIME_ZONE",
        1305: "SP_DOES_NOT_EXIST", 1318: "SP_WRONG_NO_OF_ARGS", 1336: "STMT_NOT_ALLOWED_IN_SF_OR_TRG",
        1347: "WRONG_OBJECT", 1348: "NONUPDATEABLE_COLUMN", 1356: "VIEW_INVALID", 1364: "NO_DEFAULT_FOR_FIELD",
        1422: "COMMIT_NOT_ALLOWED_IN_SF_OR_TRG", 1442: "CANT_UPDATE_USED_TABLE_IN_SF_OR_TRG", 1449: "NO_SUCH_USER",
        1471: "NON_INSERTABLE_TABLE", 1558: "COL_COUNT_DOESNT_MATCH_PLEASE_UPDATE", 1568:
        "CANT_CHANGE_TX_CHARACTERISTICS", 1726: "UNSUPPORTED_ENGINE", 1932: "NO_SUCH_TABLE_IN_ENGINE",  # MariaDB
        3105: "NON_DEFAULT_VALUE_FOR_GENERATED_COLUMN", 3780: "FK_INCOMPATIBLE_COLUMNS",
    }),
)

NO_LOCAL_INFILE: Mapping[int, str] = {
    1148: "NOT_ALLOWED_COMMAND",  # MariaDB, MySQL before 8.0
    2068: "CR_LOAD_DATA_LOCAL_INFILE_REJECTED", 2069: "CR_LOAD_DATA_LOCAL_INFILE_REALPATH_FAIL",
    3948: "CLIENT_LOCAL_FILES_DISABLED",
    4166: "LOAD_INFILE_CAPABILITY_DISABLED",  # MariaDB 10.5 and later
}
# fmt: on

DUPLICATE_ENTRY = 1062
PACKET_TOO_LARGE = 1153
TLS_REFUSED = 2026
NO_SOCKET = 2001  # CR_SOCKET_CREATE_ERROR of the client: no free file descriptor, or no memory
_FIRST_CLIENT_ERROR, _LAST_CLIENT_ERROR = 2000, 2999


def is_client_error(number: int | None) -> bool:
    """Whether the client raised the error, without an answer from the server. Its unnumbered errors are -1 and None."""
    return number is None or number < 0 or _FIRST_CLIENT_ERROR <= number <= _LAST_CLIENT_ERROR


def group_of(number: int | None, groups: tuple[ErrorGroup, ...]) -> ErrorGroup | None:
    """Return the group that has the number."""
    return next((group for group in groups if number in group.numbers), None)
