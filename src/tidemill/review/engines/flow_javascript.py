"""What is a source, a sink and harmless in JavaScript and TypeScript, where data is followed between functions."""

import re
from collections.abc import Sequence
from functools import cache

from tidemill.analysis.flow import Sink
from tidemill.analysis.javascript_rules import JavaScriptRules
from tidemill.analysis.syntax import Language
from tidemill.review.rules.catalog import rules_of

_VERBS = "get|post|put|patch|delete|head|request|fetch|stream"
_SQL = re.compile(
    r"(?i)\b(?:select|insert|update|delete|from|where|order|group|having|limit|offset|set|values|join|and|or|as|asc|desc"
    r"|create|alter|drop|truncate|with|call|exec|execute|use|show|grant|like|ilike|in|not|into|table|union)\b|=|\("
)
_HARMLESS = (
    r"(?:window\.)?(?:parseInt|parseFloat|Number|Boolean|BigInt|isNaN)|(?:Number|Math|Date)\.\w+"
    r"|new (?:Date|Number|Error|TypeError)"
    r"|(?:[\w.@-]+\.)?(?:escapeRegExp|hash|digest|createHash|createHmac|includes|startsWith|endsWith|indexOf|lastIndexOf"
    r"|test|has|hasOwnProperty|equals|localeCompare|charCodeAt|codePointAt|isArray|isInteger|formatDate|toFixed|getTime"
    r"|compare|compareSync|verify)"
    r"|validator\.(?:to(?:Int|Float|Date|Boolean)|is\w+)|path\.extname|crypto\.\w+"
)
_KEEPING = (
    r"String|unescape|decodeURIComponent|decodeURI|JSON\.(?:parse|stringify)|Object\.(?:assign|entries|values|keys|fromEntries)"
    r"|Array\.(?:from|of)|Buffer\.(?:from|concat)|new (?:URL|URLSearchParams|String|Array|Set|Map|Buffer|url\.URL)"
    r"|Promise\.(?:resolve|all)|String\.raw|structuredClone|atob|btoa|new vm\.Script"
    r"|path\.(?:posix\.|win32\.)?(?:join|resolve|normalize|format|relative|dirname)|(?:node:)?util\.(?:format|inspect)"
    r"|url\.(?:parse|resolve|format|fileURLToPath|pathToFileURL)|(?:querystring|qs)\.(?:parse|stringify|unescape)"
    r"|(?:_|lodash)\.(?:assign|extend|merge|defaults|pick|omit|get|trim|clone|cloneDeep|map|join|values|concat|toString)"
    r"|[^.]*\.(?:concat|join|replace|replaceAll|split|padStart|padEnd|bind|format)|.*\]\.(?:join|concat)"
)


def _pattern(rule: str, method: str, name: str) -> str:
    """What Semgrep's rule says of a metavariable in the sink that names this method by `$RUN`."""
    for sink in rules_of(frozenset({Language.JAVASCRIPT}))[rule].definition["pattern-sinks"]:
        where = {
            one["metavariable-regex"]["metavariable"]: one["metavariable-regex"]["regex"]
            for one in sink.get("patterns", ())
            if "metavariable-regex" in one
        }
        if name in where and re.match(where.get("$RUN", "$^"), method):
            return str(where[name])
    raise KeyError(f"No sink of {rule} names {method}.")


@cache
def javascript_rules() -> Sequence[JavaScriptRules]:
    """The tables for `javascript_functions`: of servers, and of pages in a browser."""
    return _servers(), _pages()


def _servers() -> JavaScriptRules:
    """What clients send; what reaches a database is as in the rule of Semgrep."""
    named = _inline(_pattern("javascript-sql-injection", "query", "$DB"))
    database = rf"(?is:(?:{named}|.*(?:datasource|queryrunner))(?:\(\))?)"
    runs = _inline(_pattern("javascript-sql-injection", "query", "$RUN"))
    return JavaScriptRules(
        text=re.compile(
            r"\b(?:req|request|ctx|context|event|c)\b|\(\{[^)]{0,80}\b(?:query|body|params)\b|@(?:Param|Query|Body|Headers|Cookies)\("
        ),
        sources=re.compile(
            r"(?:(?:ctx\.)?(?:req|request)|_req)\.(?:query|body|params|cookies|signedCookies|rawBody)"
            r"|(?:req|request)\.files?(?:\[\])?(?:\.\w+)?(?:\[\])?\.(?:originalname|originalFilename|name)"
            r"|ctx\.(?:query|querystring|params)|(?:req|request)\.param\(\)"
            r"|(?:c|ctx|context)\.req\.(?:query|queries|param|parseBody)\(\)"
            r"|event\.(?:queryStringParameters|multiValueQueryStringParameters|rawQueryString|pathParameters|body)"
        ),
        answered=re.compile(
            r"(?:(?:ctx\.)?(?:req|request)|ctx)\.(?:url|originalUrl|headers|path|href|header|nextUrl)"
            r"|(?:req|request|ctx)\.(?:get|header|json|text|formData)\(\)|context\.(?:query|params)"
        ),
        requests=re.compile(
            r"\b(?:\w*Request|IncomingMessage|any|\w*Context|\w*Req|RequestEvent|APIGateway\w*|LambdaFunctionURL\w*|ALBEvent|LoaderFunctionArgs|ActionFunctionArgs)\b"
        ),
        named=frozenset(
            {
                *("query", "body", "params", "cookies", "signedCookies", "rawBody", "querystring", "param"),
                *("queries", "parseBody", "queryStringParameters", "pathParameters", "url", "originalUrl", "headers"),
                *("multiValueQueryStringParameters", "rawQueryString"),
                *("path", "href", "header", "nextUrl", "get", "json", "text", "formData", "originalname", "name"),
                "originalFilename",
            }
        ),
        trusted=re.compile(
            r"[\w.]+\.(?:headers|header|get)\.(?:host|x-forwarded-\w+|user-agent|accept[\w-]*|content-[\w-]+|authorization)"
        ),
        trusted_for=frozenset({"javascript-xss", "javascript-open-redirect", "javascript-ssrf"}),
        beginning=re.compile(r"[\w.]+\.(?:url|originalUrl|path|href|nextUrl)"),
        everywhere=re.compile(r"(?!)"),
        filled=re.compile(
            r"@(?:Param|Query|Body|Headers|Cookies|UploadedFiles?|QueryParam|QueryParams|BodyParam|HeaderParam)\("
        ),
        converted=re.compile(r"Parse(?:Int|Float|Bool|UUID|Enum|Date)Pipe|:\s*(?:number|boolean|bigint|Date)\b"),
        harmless=re.compile(_HARMLESS),
        harmless_for=_harmless_for(),
        keeping=re.compile(rf"{_KEEPING}|(?:[\w.@-]+\.)?(?:sanitize(?:r|-[\w-]+)?|clean)"),
        sinks=(
            _sink("javascript-sql-injection", rf"{database}\.(?:{runs})"),
            _sink("javascript-sql-injection", rf"{database}\.(?:{runs})\{{(?:text|sql)\}}"),
            _sink("javascript-sql-injection", r"(?:.*\.)?[sS]equelize\.literal|.*\.createQueryBuilder\(\)\.where"),
            _sink(
                "javascript-command-injection",
                r"(?:this\.)?(?:child_process|cp|childProcess|shell|shelljs|execa)\.(?:exec|execSync|command|commandSync"
                r"|spawn|spawnSync|execFile|execFileSync|fork)|execa(?:\.(?:execa|execaCommand|execaSync))?",
            ),
            _sink(
                "javascript-command-injection",
                r"(?:child_process|cp|childProcess|execa)\.(?:spawn|spawnSync|execFile|execFileSync)|execa",
                position=1,
                arguments=r"(?s)\(.*\bshell\s*:\s*true\b|\(\s*[\"'`](?:/bin/|/usr/bin/)?(?:ba|z|da)?sh[\"'`]\s*,\s*\[\s*[\"'`]-\w*c\b",
            ),
            _sink("javascript-code-injection", r"eval|require|(?:new )?vm\.(?:runIn\w+Context|Script|compileFunction)"),
            _sink("javascript-code-injection", r"(?:new )?Function", position=None),
            _sink(
                "javascript-code-injection",
                r"(?:pug|jade|handlebars|Handlebars|ejs|nunjucks|_|lodash)\.(?:compile|template)"
                r"|(?:pug|jade|ejs|nunjucks|mustache|Mustache)\.(?:render|renderString)",
            ),
            _sink(
                "javascript-xss",
                r"(?:this\.)?(?:res|response|reply)(?:\.(?:status|code|type|set|header|contentType)\(\))*\.(?:send|end)"
                r"|ctx\.body=",
            ),
            _sink(
                "javascript-ssrf",
                rf"(?:axios|got|superagent|needle|undici|http|https|ky|request|follow-redirects\.https?)\.(?:{_VERBS})"
                rf"|(?:this\.)?httpService\.(?:axiosRef\.)?(?:{_VERBS})|(?:window\.|globalThis\.)?fetch|(?:node|cross)-fetch"
                r"|axios|got|ky|needle|request|superagent|undici\.\w+|(?:\w+\.)*page\.goto",
            ),
            _sink(
                "javascript-ssrf",
                rf"(?:axios|got|request|https?|undici)(?:\.(?:{_VERBS}))?\{{(?:url|uri|host|hostname|baseURL)\}}",
            ),
            _sink(
                "javascript-path-traversal",
                r"(?:fs|fsp|fs\.promises|fsPromises|fse|fs-extra|graceful-fs)\.(?:readFile|readFileSync|createReadStream"
                r"|writeFile|writeFileSync|createWriteStream|unlink|unlinkSync|readdir|readdirSync|rm|rmSync|open|openSync"
                r"|appendFile|appendFileSync|stat|statSync|rename|copyFile|access|rmdir|rmdirSync|readJson|remove)",
            ),
            _sink(
                "javascript-path-traversal",
                r"(?:res|response)(?:\.status\(\))?\.(?:sendFile|download)",
                arguments=r"(?s)\((?![^{]*\{[^{}]*\broot\b)",
            ),
            _sink(
                "javascript-insecure-deserialization",
                r"(?:.*\.)?unserialize|(?:.*\.)?v8\.deserialize|funcster\.deepDeserialize",
            ),
            _sink(
                "javascript-insecure-deserialization",
                r"(?:js-)?yaml\.load",
                arguments=r"(?s)\(.*\bschema\s*:[^,}]*(?:FULL|UNSAFE|full)",
            ),
            _sink("javascript-xpath-injection", r"xpath\.(?:select|select1|evaluate|parse)|document\.evaluate"),
            _sink("javascript-ldap-injection", r".*\.search\{filter\}|(?i:.*ldap\w*\.bind)"),
            _sink("javascript-ldap-injection", r"(?i:.*ldap\w*)\.search", position=1),
            _sink(
                "javascript-open-redirect",
                r"(?:this\.)?(?:res|response|reply|ctx)(?:\.(?:status|code)\(\))?\.redirect|redirect",
                position=None,
            ),
            _sink(
                "javascript-open-redirect",
                r"(?:(?:next\.server\.)?NextResponse|Response)\.redirect"
                r"|(?:next\.navigation|react-router|react-router-dom|@remix-run\.\w+)\.(?:permanentR|r)edirect"
                r"|(?:res|response)\.writeHead\{[lL]ocation\}",
            ),
            _sink(
                "javascript-open-redirect",
                r"(?:res|response|ctx)\.(?:setHeader|set|header)",
                position=1,
                arguments=r"""\(\s*["'`][lL]ocation["'`]""",
            ),
        ),
        addresses=frozenset({"javascript-ssrf", "javascript-open-redirect"}),
        words={"javascript-sql-injection": _SQL},
        texts=frozenset({"javascript-xss"}),
        paths=frozenset({"javascript-path-traversal"}),
        pages=frozenset({"javascript-xss"}),
        says=re.compile(
            r"(?:this\.)?(?:res|response|reply|ctx)(?:\.\w+\(\))*\.(?:type|contentType|set|header|setHeader|writeHead)"
        ),
        no_page=re.compile(
            r"(?is)\((?:[^\"'`]*[\"'`]?content-type[\"'`]\s*[:,])?\s*[\"'`](?:\.?(?:text|txt|json|csv)\b(?!/)"
            r"|text/(?!html)|application/(?!xhtml)|image/(?!svg))"
        ),
    )


def _pages() -> JavaScriptRules:
    """What a link brings into a page."""
    never = re.compile(r"(?!)")
    return JavaScriptRules(
        text=re.compile(r"\blocation\.(?:hash|search|href)\b|document\.(?:URL|referrer|location)\b|window\.name\b"),
        sources=never,
        answered=never,
        requests=never,
        named=frozenset({"hash", "search", "href", "URL", "referrer", "name"}),
        trusted=never,
        trusted_for=frozenset(),
        beginning=re.compile(r".*\.(?:hash|search|href|URL)"),
        everywhere=re.compile(
            r"(?:window\.|document\.|self\.)?location\.(?:hash|search|href)|document\.(?:URL|referrer)|window\.name"
        ),
        filled=never,
        converted=never,
        harmless=re.compile(_HARMLESS),
        harmless_for=_harmless_for(),
        keeping=re.compile(_KEEPING),
        sinks=(
            _sink("javascript-dom-xss", r".*\.(?:innerHTML|outerHTML|srcdoc)=|document\.write(?:ln)?|\{__html\}"),
            _sink("javascript-dom-xss", r".*\.insertAdjacentHTML", position=1),
            _sink("javascript-dom-xss", r"(?:\$|jQuery)\(\)\.(?:html|append|prepend|after|before)"),
            _sink("javascript-code-injection", r"eval|(?:new )?Function", position=None),
            _sink(
                "javascript-dom-redirect",
                r"(?:(?:window|document|top|self)\.)?location(?:\.href)?=|(?:window\.)?location\.(?:assign|replace)|window\.open",
            ),
        ),
        addresses=frozenset({"javascript-dom-redirect"}),
        words={},
        texts=frozenset(),
        paths=frozenset(),
        pages=frozenset({"javascript-dom-xss"}),
        says=never,
        no_page=never,
    )


def _harmless_for() -> dict[str, re.Pattern[str]]:
    """What takes away one kind of harm. A mere `clean`, `sanitize` or `encode` says nothing of queries and commands."""
    encoded = r"(?:window\.)?(?:encodeURIComponent|escape)|(?:querystring|qs)\.(?:escape|stringify)"
    others = (
        r"(?!(?i:.*(?:sql\w*|mysql2|pg|db|pool|client|conn|connection|knex|sequelize|shell\w*|shescape|ldap\w*)\.))"
    )
    page = (
        rf"{encoded}|encodeURI|{others}(?:[\w.@-]+\.)?(?:escape(?!Id|Reg|Lit|Ident|Filter|Shell|Sql|SQL)\w*|sanitize(?:r|Html|HTML)?"
        r"|(?:html|xml)(?:Escape|Encode|Entities)\w*|(?:encode|strip)(?:Html|HTML|Xml|XML|Entities|Tags)\w*)|striptags"
        r"|xss(?:\.\w+)?|sanitize-[\w-]+|escape-html|he\.\w+|entities\.(?:encode|escape)\w*|html-entities\.encode\w*"
        r"|(?i:(?:isomorphic-)?dompurify)\.\w+|validator\.escape"
    )
    return {
        "javascript-sql-injection": re.compile(
            r"(?:.*\.)?escape(?:Id|Literal|Identifier|Sql|SQL)"
            r"|(?is:(?:.*\.)?\w*(?:mysql2?|sqlstring|pg|sql|db|pool|client|conn|connection|knex|sequelize))(?:\(\))?\.(?:escape|quote|format)"
            r"|pg-(?:format|escape)(?:\.\w+)?"
        ),
        "javascript-command-injection": re.compile(
            r"(?i:(?:[\w.@-]+\.)?\w*shell(?:-?quote)?)\.(?:quote|escape)|(?:[\w.@-]+\.)?(?:shellescape|shell-escape|escapeShell\w*)"
            r"|puka\.\w+|shescape\.\w+"
        ),
        "javascript-xss": re.compile(page),
        "javascript-dom-xss": re.compile(page),
        "javascript-ssrf": re.compile(encoded),
        "javascript-open-redirect": re.compile(encoded),
        "javascript-dom-redirect": re.compile(encoded),
        "javascript-path-traversal": re.compile(
            rf"{encoded}|(?:[\w.@-]+\.)?(?:basename|sanitizeFilename|sanitizeFileName)|sanitize-filename"
        ),
        "javascript-code-injection": re.compile(r"JSON\.stringify"),
        "javascript-ldap-injection": re.compile(
            r"(?i:(?:[\w.@-]+\.)?\w*ldap-?escape)\.\w+|(?:[\w.@-]+\.)?escape(?:Filter|DN)"
        ),
    }


def _inline(pattern: str) -> str:
    """A pattern of Semgrep's without its ends, to be put into another."""
    found = re.sub(r"^\(\?\w+\)", "", pattern).removeprefix("^").removesuffix("$")
    return found.replace("(?i)", "")


def _sink(rule: str, name: str, *, position: int | None = 0, arguments: str | None = None) -> Sink:
    return Sink(rule, re.compile(name), position, re.compile(arguments) if arguments else None)
