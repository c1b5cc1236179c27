"""What is a source, a sink and harmless in Go, where data is followed from one function to another."""

import re
from functools import cache

from tidemill.analysis.flow import Sink
from tidemill.analysis.go_rules import GoRules

_REQUEST = "net/http.Request"
_RESPONSE = "net/http.ResponseWriter"
_GIN = r"github\.com/gin-gonic/gin\.Context"
_ECHO = r"github\.com/labstack/echo\.Context"
_FIBER = r"github\.com/gofiber/fiber\.Ctx"
_CONTEXTS = rf"(?:{_GIN}|{_ECHO}|{_FIBER})"
_GORM = r"(?:gorm\.io/gorm|github\.com/jinzhu/gorm)\.DB"
_DATABASE = r"(?:database/sql\.(?:DB|Tx|Conn)|github\.com/jmoiron/sqlx\.(?:DB|Tx|Conn))"
_POSTGRES = r"github\.com/jackc/(?:pgx|pgx/pgxpool|pgxpool)\.(?:Conn|Tx|Pool)"
_CALLED_DATABASE = (
    r"\?(?:[\w.]+\.)?(?i:\w*(?:db|dbx|sql|database|gorm|sqlx|tx|trx|txn|conn|pool|dbtx|querier|executor))"
)
"""An object whose type is not known, by its name."""
_WITH_CONTEXT = r"\(\s*(?:\w*ctx\w*|\w*[cC]ontext|context\.\w+\([^()]*\)|[\w.]+\.Context\(\))\s*,"
_SHELL = r'\(\s*(?:[^",]+,\s*)?"(?:/bin/|/usr/bin/|/usr/bin/env )?(?:ba|z|da|k)?sh"\s*,\s*"-\w*c"'
_WINDOWS = r'\(\s*(?:[^",]+,\s*)?"(?:cmd|powershell|pwsh)(?:\.exe)?"\s*,'


@cache
def go_rules() -> GoRules:
    """The table for `go_functions`."""
    return GoRules(
        needed=re.compile(r'"net/http"|/gin-gonic/gin"|/labstack/echo[/"]|/gofiber/fiber[/"]'),
        request=_REQUEST,
        response=_RESPONSE,
        contexts=re.compile(_CONTEXTS),
        sources=re.compile(
            r"net/http\.Request\.(?:FormValue|PostFormValue|PathValue|FormFile|MultipartReader|MultipartForm|PostForm)"
            r"|github\.com/gorilla/mux\.Vars|github\.com/go-chi/chi\.URLParam|github\.com/go-chi/chi\.URLParamFromCtx"
            r"|github\.com/julienschmidt/httprouter\.Params\.ByName"
            rf"|{_GIN}\.(?:(?:Default|Get)?(?:Query|PostForm)(?:Array|Map)?|Param|Params|GetHeader|GetRawData|Cookie|FormFile"
            r"|MultipartForm)"
            rf"|{_ECHO}\.(?:QueryParams?|QueryString|Param|ParamValues|FormValue|FormParams|FormFile|MultipartForm|Cookie)"
            rf"|{_FIBER}\.(?:Query|Queries|Params|AllParams|FormValue|FormFile|MultipartForm|Get|Cookies|Body|BodyRaw)"
        ),
        served=re.compile(
            r"net/http\.Request\.(?:URL\.(?:Query|Path|RawPath|EscapedPath|RawQuery|Fragment)|Header\.(?:Get|Values)|Body"
            r"|Form|Cookie|Cookies|UserAgent|Referer)"
        ),
        binds=re.compile(
            rf"{_GIN}\.(?:Must|Should)?Bind\w*|{_ECHO}\.Bind|{_FIBER}\.(?:Body|Query|Params|Cookie|ReqHeader)Parser"
            r"|github\.com/go-chi/render\.(?:Bind|Decode\w*)"
        ),
        decodes=re.compile(r"(?i)\w*(?:decode|bind|unmarshal|parse|read)\w*"),
        fills=re.compile(
            r"encoding/\w+\.Decoder\.Decode|\w+/\w+\.Unmarshal\w*|[\w./-]*(?:json|yaml|toml|schema|form|mapstructure)\w*"
            r"\.(?:Decoder\.Decode|Decode\w*|Unmarshal\w*)|io\.(?:ReadFull|ReadAtLeast)|fmt\.[SF]scan\w*"
        ),
        writes=re.compile(
            r"(?:strings\.Builder|bytes\.Buffer|bufio\.Writer)\.(?:Write\w*|ReadFrom)|net/url\.Values\.(?:Set|Add)"
        ),
        appends=re.compile(r"fmt\.Fprint(?:f|ln)?|io\.(?:WriteString|Copy\w*)"),
        holds=re.compile(
            r"(?:strings|bytes|bufio|slices|maps|path|path/filepath|net/url|html|mime|sort|regexp"
            r"|encoding/\w+|compress/\w+|unicode/utf8|golang\.org/x/text/\w+(?:/\w+)*|github\.com/tidwall/gjson)\.[\w.]+"
            r"|io(?:/ioutil)?\.(?:ReadAll|LimitReader|TeeReader|MultiReader|NopCloser|NewSectionReader)"
            r"|fmt\.(?:Sprint(?:f|ln)?|Append\w*)|errors\.New|fmt\.Errorf|strconv\.(?:Quote\w*|Unquote\w*)"
            r"|html/template\.\w+|text/template\.\w+|net/http\.MaxBytesReader|github\.com/spf13/cast\.ToString\w*"
        ),
        formats=re.compile(r"fmt\.(?:Sprintf|Fprintf|Errorf)"),
        harmless=re.compile(
            r"strconv\.(?:Atoi|Itoa|Parse\w+|Format\w+)|github\.com/(?:google|gofrs|satori/go\.)/?uuid\.\w+|len|cap"
            r"|(?:strings|bytes)\.(?:Contains\w*|Has\w+|EqualFold|Index\w*|LastIndex\w*|Count|Compare|Equal)"
            r"|regexp\.Regexp\.Match\w*|regexp\.Match\w*|(?:path|path/filepath)\.Match|slices\.(?:Contains\w*|Index\w*)"
            r"|encoding/hex\.Encode\w*|encoding/base64\.\w+\.Encode\w*|crypto/[\w./]+|net\.Parse\w+|time\.\w+"
            r"|context\.\w+|net/netip\.\w+|io/fs\.ValidPath|path/filepath\.(?:IsLocal|IsAbs)|path\.IsAbs|errors\.(?:Is|As)"
            r"|unicode/utf8\.(?:Valid\w*|RuneCount\w*)|(?:path|path/filepath)\.Ext"
        ),
        harmless_for=_harmless_for(),
        rooted=re.compile(
            r"""path(?:/filepath)?\.Clean\(\s*(?:"/"|string\((?:filepath\.Separator|os\.PathSeparator)\))\s*\+"""
            r"""|path(?:/filepath)?\.Join\(\s*"/"\s*,\s*[\w.]+\s*\)"""
        ),
        paths=frozenset({"go-path-traversal"}),
        checks=re.compile(r"regexp\.(?:Regexp\.)?Match\w*|slices\.Contains"),
        keeps=re.compile(r"path/filepath\.IsLocal|io/fs\.ValidPath"),
        cleans=re.compile(r"path/filepath\.(?:Abs|EvalSymlinks)|path(?:/filepath)?\.(?:Clean|Join)"),
        begins=re.compile(r"strings\.HasPrefix"),
        contains=re.compile(r"strings\.Contains(?:Any|Rune)?"),
        same=re.compile(r"strings\.EqualFold"),
        letters=re.compile(r"strings\.To(?:Lower|Upper)"),
        plain=re.compile(
            r"bool|error|u?int(?:8|16|32|64|ptr)?|float(?:32|64)|complex\d+|rune|func|time\.\w+|context\.Context"
            r"|context\.CancelFunc|os\.\w+|(?:sync|log|hash|crypto|reflect)[./]\w[\w./]*|database/sql\.(?:DB|Tx|Conn|Stmt|Rows?)"
            r"|net/http\.(?:Client|Server|Handler|ResponseWriter|Transport)|net\.(?:Conn|Listener|IP|IPNet|IPMask)|net/netip\.\w+|(?:[\w./-]*/)?uuid\.UUID|math/big\.\w+"
        ),
        streams=re.compile(r"\[\]byte|io\.\w*Read\w*|bufio\.(?:Reader|Scanner)|mime/multipart\.\w+"),
        types=_types(),
        sinks=_sinks(),
        addresses=frozenset({"go-ssrf", "go-open-redirect"}),
        markup=frozenset({"go-xss"}),
        page=re.compile(r"[\"`\s>]<[a-zA-Z!][^<>\n]{0,80}>|text/html"),
        no_page=re.compile(
            r"(?i)application/(?!xhtml)[\w.+-]+|text/(?!html)[\w.+-]+|MIME(?:Application|TextPlain)\w*|image/"
        ),
    )


def _harmless_for() -> dict[str, re.Pattern[str]]:
    own_page = rf"|net/http\.Request\.URL\.(?:Path|RawPath|EscapedPath|RawQuery)|{_ECHO}\.QueryString"
    quoted = r"net/url\.(?:QueryEscape|PathEscape|Values\.Encode)"
    return {
        "go-sql-injection": re.compile(r"github\.com/lib/pq\.Quote\w+|github\.com/jackc/pgx\.Identifier\.Sanitize"),
        "go-command-injection": re.compile(r"[\w./-]*shell\w*\.(?:Quote|Escape)\w*|[\w./-]*shellescape\.\w+"),
        "go-xss": re.compile(
            rf"html\.EscapeString|(?:html|text)/template\.(?:HTML|JS|URLQuery)Escape\w*|{quoted}|encoding/json\.\w+"
            r"|[\w./-]*bluemonday\.[\w.]+|strconv\.Quote\w*"
        ),
        "go-ssrf": re.compile(quoted + own_page),
        "go-open-redirect": re.compile(quoted + own_page),
        # a server's multiplexer answers a path with `..` by a redirect
        "go-path-traversal": re.compile(
            rf"(?:path|path/filepath)\.Base|{quoted}|[\w./-]*securejoin\.\w+|net/http\.Request\.URL\.Path"
        ),
        "go-ldap-injection": re.compile(r"github\.com/go-ldap/ldap\.Escape\w+"),
    }


def _types() -> dict[str, str]:
    """What is given by those of the packages' functions and fields whose names do not tell."""
    gorm, sql, sqlx = "gorm.io/gorm.DB", "database/sql", "github.com/jmoiron/sqlx"
    return {
        "net/http.NewRequest": _REQUEST,
        "net/http.NewRequestWithContext": _REQUEST,
        "net/http.Request.WithContext": _REQUEST,
        "net/http.Request.Clone": _REQUEST,
        "github.com/gin-gonic/gin.Context.Request": _REQUEST,
        "github.com/gin-gonic/gin.Context.Writer": _RESPONSE,
        "github.com/labstack/echo.Context.Request": _REQUEST,
        "github.com/labstack/echo.Context.Response": _RESPONSE,
        "net/http.Request.Context": "context.Context",
        "net/http.Request.Body": "io.ReadCloser",
        "net/url.Parse": "net/url.URL",
        "net/url.ParseRequestURI": "net/url.URL",
        "net/http.Request.ContentLength": "int",
        "net/http.Request.FormValue": "string",
        "net/http.Request.PostFormValue": "string",
        "net/http.Request.PathValue": "string",
        "bytes.NewBufferString": "bytes.Buffer",
        "regexp.MustCompile": "regexp.Regexp",
        "regexp.Compile": "regexp.Regexp",
        "text/template.New": "text/template.Template",
        "html/template.New": "html/template.Template",
        "text/template.Template.*": "text/template.Template",
        "html/template.Template.*": "html/template.Template",
        "gorm.io/gorm.Open": gorm,
        "gorm.io/gorm.DB.*": gorm,
        "github.com/jinzhu/gorm.Open": "github.com/jinzhu/gorm.DB",
        "github.com/jinzhu/gorm.DB.*": "github.com/jinzhu/gorm.DB",
        **{f"{sql}.{one}": f"{sql}.DB" for one in ("Open", "OpenDB")},
        **{f"{sql}.DB.{one}": f"{sql}.Tx" for one in ("Begin", "BeginTx")},
        f"{sql}.DB.Conn": f"{sql}.Conn",
        **{
            f"{sql}.{one}.{made}": f"{sql}.Stmt"
            for one in ("DB", "Tx", "Conn")
            for made in ("Prepare", "PrepareContext")
        },
        **{f"{sqlx}.{one}": f"{sqlx}.DB" for one in ("Open", "Connect", "MustOpen", "MustConnect", "ConnectContext")},
        **{f"{sqlx}.DB.{one}": f"{sqlx}.Tx" for one in ("Beginx", "MustBegin", "BeginTxx")},
        "github.com/jackc/pgx.Connect": "github.com/jackc/pgx.Conn",
        "github.com/jackc/pgx/pgxpool.New": "github.com/jackc/pgx/pgxpool.Pool",
        "github.com/go-ldap/ldap.Dial": "github.com/go-ldap/ldap.Conn",
        "github.com/go-ldap/ldap.DialURL": "github.com/go-ldap/ldap.Conn",
    }


def _sinks() -> tuple[Sink, ...]:
    text = r"(?:Query|QueryRow|Exec|Prepare|Queryx|QueryRowx|MustExec|NamedExec|NamedQuery|Preparex)"
    parts = r"(?:Where|Order|Having|Joins|Group|Or|Not|Select|Raw|Exec|Table)"
    files = "Open|OpenFile|Create|ReadFile|WriteFile|Remove|RemoveAll|Mkdir|MkdirAll|ReadDir|Rename|Stat|Truncate|DirFS"
    return (
        _sink("go-sql-injection", rf"{_DATABASE}\.{text}"),
        _sink("go-sql-injection", rf"{_DATABASE}\.{text}Context", position=1),
        _sink("go-sql-injection", rf"{_DATABASE}\.(?:Select|Get)", position=1),
        _sink("go-sql-injection", rf"{_DATABASE}\.(?:Select|Get)Context", position=2),
        _sink("go-sql-injection", rf"{_POSTGRES}\.(?:Query|QueryRow|Exec|Prepare)", position=1),
        _sink("go-sql-injection", rf"{_GORM}\.{parts}"),
        _sink("go-sql-injection", rf"{_CALLED_DATABASE}\.(?:{text}|Raw)", arguments=rf"(?!{_WITH_CONTEXT})"),
        _sink(
            "go-sql-injection", rf"{_CALLED_DATABASE}\.(?:{text}|{text}Context)", position=1, arguments=_WITH_CONTEXT
        ),
        _sink(
            "go-sql-injection",
            r"\?(?:[\w.]+\.)?(?i:\w*(?:db|gorm|tx))(?:\.[A-Z]\w*)*\.(?:Where|Order|Having|Joins|Group|Raw)",
        ),
        _sink("go-command-injection", r"os/exec\.Command|syscall\.Exec|os\.StartProcess"),
        _sink("go-command-injection", r"os/exec\.CommandContext", position=1),
        _sink("go-command-injection", r"os/exec\.Command", position=2, arguments=_SHELL),
        _sink("go-command-injection", r"os/exec\.CommandContext", position=3, arguments=_SHELL),
        _sink("go-command-injection", r"os/exec\.Command(?:Context)?", position=None, arguments=_WINDOWS),
        _sink("go-command-injection", r"os/exec\.Cmd\.Path"),
        _sink("go-code-injection", r"(?:text|html)/template\.Template\.Parse|plugin\.Open"),
        _sink(
            "go-code-injection",
            r"github\.com/robertkrimen/otto\.Otto\.(?:Run|Eval)|github\.com/dop251/goja\.Runtime\.RunString",
        ),
        _sink("go-xss", r"fmt\.Fprint(?:f|ln)?@net/http\.ResponseWriter", position=None),
        _sink("go-xss", r"io\.WriteString@net/http\.ResponseWriter", position=1),
        _sink("go-xss", r"net/http\.ResponseWriter\.Write(?:String)?"),
        _sink("go-xss", r"html/template\.(?:HTML|JS|HTMLAttr|CSS|JSStr)"),
        _sink("go-xss", rf"{_ECHO}\.HTML(?:Blob)?", position=1),
        _sink("go-xss", rf"{_GIN}\.Data", position=2, arguments=r"""\(\s*[^,"]+,\s*"text/html"""),
        _sink("go-ssrf", r"net/http\.(?:Get|Post|PostForm|Head)|net/http\.Client\.(?:Get|Post|PostForm|Head)"),
        _sink("go-ssrf", r"net/http\.NewRequest", position=1),
        _sink("go-ssrf", r"net/http\.NewRequestWithContext", position=2),
        _sink("go-ssrf", r"\?(?:[\w.]+\.)?(?i:\w*(?:client|resty))\.(?:Get|Post|Head|PostForm)"),
        _sink("go-ssrf", r"net\.(?:Dial|DialTimeout)", position=1),
        _sink("go-path-traversal", rf"os\.(?:{files})|io/ioutil\.(?:ReadFile|WriteFile|ReadDir)"),
        _sink("go-path-traversal", r"os\.(?:Rename|Link|Symlink)", position=1),
        _sink("go-path-traversal", r"net/http\.ServeFile", position=2),
        _sink("go-path-traversal", rf"{_CONTEXTS}\.(?:File|FileAttachment|Attachment|Inline|SendFile|Download)"),
        _sink("go-path-traversal", rf"{_CONTEXTS}\.(?:SaveUploadedFile|SaveFile)", position=1),
        _sink("go-xpath-injection", r"github\.com/antchfx/\w+\.(?:Find|FindOne|Query|QueryAll|FindEach)", position=1),
        _sink("go-xpath-injection", r"(?:github\.com/antchfx/xpath|[\w./-]*xmlpath)\.(?:Must)?Compile"),
        _sink("go-ldap-injection", r"github\.com/go-ldap/ldap\.NewSearchRequest", position=6),
        _sink("go-ldap-injection", r"github\.com/go-ldap/ldap\.NewSearchRequest|github\.com/go-ldap/ldap\.Conn\.Bind"),
        _sink("go-ldap-injection", r"github\.com/go-ldap/ldap\.SearchRequest\.(?:Filter|BaseDN)"),
        _sink("go-open-redirect", r"net/http\.Redirect", position=2),
        _sink("go-open-redirect", rf"(?:{_GIN}|{_ECHO})\.Redirect", position=1),
        _sink("go-open-redirect", rf"{_FIBER}\.Redirect"),
        _sink(
            "go-open-redirect",
            r"net/http\.ResponseWriter\.Header\.Set|net/http\.Header\.Set",
            position=1,
            arguments=r'\(\s*"Location"',
        ),
        _sink("go-open-redirect", rf"{_GIN}\.Header", position=1, arguments=r'\(\s*"Location"'),
    )


def _sink(rule: str, name: str, *, position: int | None = 0, arguments: str | None = None) -> Sink:
    return Sink(rule, re.compile(name), position, re.compile(arguments) if arguments else None)
