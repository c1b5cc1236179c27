"""What is a source, a sink and harmless in Java, where data is followed from one method to another."""

import re
from functools import cache

from tidemill.analysis.flow import Sink
from tidemill.analysis.java_rules import JavaAnswer, JavaEscape, JavaRules, JavaSource

_EE = r"(?:javax|jakarta)\."
_SERVLET = rf"{_EE}servlet\.(?:http\.)?"
_SPRING = r"org\.springframework\."
_ADDRESSES = frozenset({"java-ssrf", "java-open-redirect"})
_PAGES = frozenset({"java-xss"})
_PATHS = frozenset({"java-path-traversal"})
_WRITER, _STREAM = "page.Writer", "page.Stream"
"""What a response gives to write a page to: its declared type may as well be a file's."""
_LANG, _FILES = "java.lang.", "java.nio.file."
_STRING_METHODS = (
    *("trim", "strip", "toLowerCase", "toUpperCase", "substring", "replace", "replaceAll", "replaceFirst", "concat"),
    *("format", "formatted", "join", "valueOf", "intern", "repeat", "copyValueOf"),
)
_URI_BUILDER = "org.springframework.web.util.UriComponentsBuilder"


@cache
def java_rules() -> JavaRules:
    """The table for `java_functions`: sources, sinks and kinds as in the rules of Semgrep."""
    return JavaRules(
        begins=re.compile(
            r"Servlet\w*Request\b|\b(?:\w*WebRequest|ServerHttpRequest|ServerRequest|UriInfo|MultipartFile|FileItem"
            r"|getSubmittedFileName|getHeaderString)\b|@(?:RequestParam|PathVariable|RequestBody|RequestHeader"
            r"|CookieValue|ModelAttribute|MatrixVariable|RequestPart|\w+Param)\b"
        ),
        sources=_sources(),
        filled=re.compile(
            "RequestParam|PathVariable|RequestBody|RequestHeader|CookieValue|ModelAttribute|MatrixVariable|RequestPart"
            "|QueryParam|PathParam|FormParam|HeaderParam|CookieParam|MatrixParam"
        ),
        plain=re.compile(
            r"int|long|short|byte|char|boolean|float|double|void|Integer|Long|Short|Byte|Character|Boolean|Float|Double"
            r"|Number|Void|UUID|Big(?:Decimal|Integer)|Atomic(?:Integer|Long|Boolean)|(?:Local|Offset|Zoned)?(?:Date|Time)+"
            r"|Instant|Duration|Period|Year|YearMonth|ZoneId|Timestamp|Calendar|Pageable|PageRequest|Sort|Locale"
            r"|HttpMethod|HttpStatus|MediaType|Class|Authentication|Principal|HttpSession|Charset|Pattern"
        ),
        carriers=re.compile(
            r"String|CharSequence|StringBuilder|StringBuffer|Object|UR[IL]|File|Path|InputStream|Reader|byte|char|Optional"
            r"|\w*(?:List|Set|Map|Collection)"
        ),
        facts=re.compile(
            r"equals\w*|length|size|is(?:Empty|Blank|Present|File|Directory|Absolute)|contains\w*|(?:starts|ends)With"
            r"|matches|hashCode|(?:lastI|i)ndexOf|compareTo\w*|charAt|codePointAt|getClass|ordinal|count|exists|canRead"
            r"|canWrite|(?:any|all|none)Match|getSize|lastModified"
            r"|(?:get|as|to|next|read|opt)(?:As)?(?:Int|Integer|Long|Short|Byte|Double|Float|Boolean|Number|BigDecimal"
            r"|BigInteger|Date|Time|Timestamp|Instant|UUID)|(?:int|long|short|double|float|boolean)Value"
        ),
        escapes=_escapes(),
        written=((re.compile(r"\"&lt;\"|'&', 'l', 't'"), _escape("", "java-xss")),),
        keeps=re.compile(
            r"java\.lang\.String(?:Builder|Buffer)?\.(?:concat|format|formatted|replace\w*|join|append|insert)"
            r"|java\.util\.(?:Base64\.Decoder\.\w+|StringJoiner\.add|Optional\.or\w*)|java\.net\.URI\.resolve"
            r"|java\.nio\.file\.Path\.resolve\w*|java\.text\.MessageFormat\.format"
            r"|[\w.]+\.(?:ObjectMapper\.(?:readValue|readTree|convertValue|writeValueAsString)|Gson\.(?:from|to)Json)"
            rf"|{re.escape(_URI_BUILDER)}\.\w+|{_EE}ws\.rs\.core\.UriBuilder\.\w+"
        ),
        drops=re.compile(
            r"(?!java\.nio\.file\.Paths\.get$).*\."
            r"(?:(?:get|find|load|lookup|fetch|is|has|exists|count|check|validate|contains|equals|compare|query|select"
            r"|forName|createTemp|log)(?:[A-Z]\w*)?"
            r"|(?:\w*(?:Exception|Error)|File(?:InputStream|OutputStream|Reader|Writer)|RandomAccessFile)\.new)"
            r"|java\.(?:nio\.file\.Files|lang\.(?:System|Math|Thread|Runtime))\.\w+"
        ),
        wraps=re.compile(r"java\.(?:io\.(?!File\.)\w+|lang\.String|util\.Scanner)\.new"),
        grows=re.compile(
            r"java\.lang\.String(?:Builder|Buffer)\.(?:append|insert|replace)"
            r"|(?:java\.util|org\.springframework\.util)\.(?:\w+\.)?\w*"
            r"(?:List|Set|Map|Deque|Queue|Stack|Vector|Collection|Properties|StringJoiner|Hashtable)"
            r"\.(?:add\w*|put\w*|push|offer\w*|set|setProperty)"
            r"|java\.io\.(?:StringWriter|ByteArrayOutputStream|CharArrayWriter)\.(?:write|append)"
            rf"|{re.escape(_URI_BUILDER)}\.\w+"
        ),
        maps=re.compile(r"map|flatMap|mapToObj|mapMulti|thenApply|thenCompose|handle|transform"),
        returns=_returns(),
        stands_for={"java.io.PrintWriter": _WRITER},
        web=re.compile(r"(?:javax|jakarta)\.servlet\b"),
        sinks=_sinks(),
        answers=_answers(),
        lists=re.compile(
            r"(?:java\.util|com\.google\.common\.collect)\.(?:\w+\.)?\w*(?:Set|List|Map|Collection)\.contains(?:Key)?"
        ),
        passes=re.compile(r".*\.ArrayUtils\.contains|.*\.StringUtils\.is(?:Alpha|Numeric|Alphanumeric)"),
        demands=re.compile(r".*\.(?:(?:Assert|Validate)\.isTrue|Preconditions\.check(?:Argument|State))"),
        paths=_PATHS,
        addresses=_ADDRESSES,
        pages=_PAGES,
        no_page=re.compile(
            r"setContentType\(\s*\"(?!text/html|application/xhtml|image/svg)|\"Content-Type\"\s*,\s*\"(?!text/html)"
            r"|setContentType\(\s*(?:MediaType\.)?\w*(?:JSON|TEXT_PLAIN|OCTET)"
        ),
        page=re.compile(r"text/html|TEXT_HTML"),
    )


def _sources() -> tuple[JavaSource, ...]:
    request = rf"{_SERVLET}\w*Request\w*\."
    return (
        _source(
            rf"{request}(?:getParameter(?:Values|Map|Names)?|getQueryString|getInputStream|getReader|getParts?)"
            rf"|{_SPRING}web\.context\.request\.\w*WebRequest\.getParameter(?:Values|Map)?"
            rf"|{_SPRING}http\.server\.reactive\.ServerHttpRequest\.(?:getQueryParams|getBody)"
            rf"|{_SPRING}web\.(?:reactive\.)?(?:servlet\.)?function\.(?:server\.)?ServerRequest\."
            r"(?:queryParams?|params?|pathVariables?|body\w*)"
            rf"|{_EE}ws\.rs\.core\.UriInfo\.get(?:Query|Path|Matrix)Parameters"
        ),
        # no link makes another's browser send a header, and none but its own client changes it
        _source(
            rf"{request}(?:getHeaders?|getCookies)|{_SPRING}web\.context\.request\.\w*WebRequest\.getHeader(?:Values)?"
            rf"|{_SPRING}http\.server\.reactive\.ServerHttpRequest\.(?:getHeaders|getCookies)"
            rf"|{_EE}ws\.rs\.core\.HttpHeaders\.(?:getHeaderString|getRequestHeaders?|getCookies)",
            _PAGES | {"java-open-redirect"},
        ),
        # a part of this server's own address, from which servers have taken each `..`
        _source(rf"{request}getPathInfo|{_EE}ws\.rs\.core\.UriInfo\.getPath", _ADDRESSES | {"java-path-traversal"}),
        # that address as it came; in it a browser escapes what would be a tag
        _source(
            rf"{request}getRequestUR[IL]|{_EE}ws\.rs\.core\.UriInfo\.get(?:RequestUri|AbsolutePath)",
            _ADDRESSES | _PAGES,
        ),
        _source(
            rf"{_SPRING}web\.multipart\.MultipartFile\.(?:getOriginalFilename|getBytes|getInputStream)"
            rf"|{_SERVLET}Part\.(?:getSubmittedFileName|getInputStream)"
            r"|org\.apache\.(?:commons|tomcat\.util\.http)\.fileupload\d?\.FileItem\.(?:getName|getString|getInputStream)"
        ),
    )


def _source(name: str, kinds: frozenset[str] = frozenset()) -> JavaSource:
    return JavaSource(re.compile(name), kinds)


def _escapes() -> tuple[JavaEscape, ...]:
    return (
        _escape(
            r"java\.lang\.(?:Integer|Long|Short|Byte|Double|Float|Boolean|Character)\.\w+|java\.util\.UUID\.\w+"
            r"|(?!java\.lang\.String\.).*\.valueOf|.*\.NumberUtils\.\w+|java\.time\.(?:\w+\.)*parse"
            r"|java\.math\.Big\w+\.\w+|java\.security\.MessageDigest\.\w+|.*\.DigestUtils\.\w+"
            r"|java\.util\.Base64\.Encoder\.\w+|.*\.Hex\.encode\w*"
            rf"|java\.net\.URLEncoder\.encode|{_SPRING}web\.util\.UriUtils\.encode\w*|.*\.Encode\.forUri\w*"
            r"|.*\.encodeForURL"
        ),
        _escape(r"java\.lang\.String\.replace(?:All|First)", arguments=r"\(\s*\"\[\^"),
        _escape(
            r".*\.HtmlUtils\.htmlEscape\w*|.*\.StringEscapeUtils\.escape(?:Html|Xml|Ecma|Java)\w*|.*\.Encode\.for\w+"
            r"|.*\.Jsoup\.clean|.*\.encodeForHTML\w*|.*\.\w*(?:escape|encode)\w*(?:Html|HTML|Xml|XML)\w*"
            r"|.*\.(?:html|xml)(?:Escape|Encode)\w*|.*\.PolicyFactory\.sanitize",
            "java-xss",
        ),
        _escape(r"java\.lang\.String\.replace(?:All)?", "java-xss", arguments=r"""\(\s*["']<["']"""),
        _escape(r"[\w.]+\.(?:ObjectMapper|ObjectWriter)\.writeValueAsString|[\w.]+\.Gson\.toJson", "java-xss"),
        _escape(r".*\.encodeForSQL|.*\.StringEscapeUtils\.escapeSql", "java-sql-injection"),
        _escape(r"java\.lang\.String\.replace(?:All)?", "java-sql-injection", arguments=r"\(\s*\"'\"\s*,"),
        _escape(
            r".*\.FilenameUtils\.(?:getName|getBaseName|getExtension)|java\.io\.File\.getName"
            r"|java\.nio\.file\.Path\.getFileName",
            "java-path-traversal",
        ),
        _escape(
            r"java\.lang\.String\.replace(?:All)?", "java-path-traversal", arguments=r"\(\s*[\"'](?:/|\.\.)[\"']\s*,"
        ),
        _escape(
            r"java\.lang\.String\.substring",
            "java-path-traversal",
            arguments=r"""\([^,]*\blastIndexOf\((?:["'](?:/|\\\\)["']|\w*\.?separator\w*)\)\s*\+\s*1\s*\)""",
        ),
        _escape(r".*\.encodeForOS", "java-command-injection"),
        _escape(r".*\.LdapEncoder\.\w+|.*\.encodeFor(?:LDAP|DN)|.*\.Filter\.encodeValue", "java-ldap-injection"),
        _escape(r".*\.encodeForXPath", "java-xpath-injection"),
    )


def _escape(name: str, *kinds: str, arguments: str | None = None) -> JavaEscape:
    return JavaEscape(re.compile(name), frozenset(kinds), re.compile(arguments) if arguments else None)


def _returns() -> dict[str, str]:
    found = {
        "javax.sql.DataSource.getConnection": "java.sql.Connection",
        "java.sql.DriverManager.getConnection": "java.sql.Connection",
        "java.sql.Connection.createStatement": "java.sql.Statement",
        "java.sql.Connection.prepareStatement": "java.sql.PreparedStatement",
        "java.sql.Connection.prepareCall": "java.sql.CallableStatement",
        "org.springframework.jdbc.core.support.JdbcDaoSupport.getJdbcTemplate": (
            "org.springframework.jdbc.core.JdbcTemplate"
        ),
        "java.lang.Runtime.getRuntime": "java.lang.Runtime",
        "javax.script.ScriptEngineManager.getEngineByName": "javax.script.ScriptEngine",
        "javax.xml.xpath.XPathFactory.newInstance": "javax.xml.xpath.XPathFactory",
        "javax.xml.xpath.XPathFactory.newXPath": "javax.xml.xpath.XPath",
        "org.hibernate.SessionFactory.getCurrentSession": "org.hibernate.Session",
        "org.hibernate.SessionFactory.openSession": "org.hibernate.Session",
        "java.util.Base64.getDecoder": "java.util.Base64.Decoder",
        "java.util.Base64.getEncoder": "java.util.Base64.Encoder",
        "java.nio.file.Paths.get": "java.nio.file.Path",
        "java.nio.file.Path.of": "java.nio.file.Path",
        "java.io.File.toPath": "java.nio.file.Path",
        "java.io.File.getParentFile": "java.io.File",
        "java.io.BufferedReader.readLine": "java.lang.String",
        "java.net.http.HttpRequest.newBuilder": "java.net.http.HttpRequest.Builder",
    }
    found |= {f"{_FILES}Path.{one}": f"{_FILES}Path" for one in ("resolve", "resolveSibling", "normalize", "getParent")}
    found |= {f"{_LANG}String.{one}": f"{_LANG}String" for one in _STRING_METHODS}
    for name in ("StringBuilder", "StringBuffer"):
        own = ("append", "insert", "replace", "reverse", "delete", "deleteCharAt")
        found |= {f"{_LANG}{name}.{one}": f"{_LANG}{name}" for one in own}
        found[f"{_LANG}{name}.substring"] = f"{_LANG}String"
    for name in ("fromHttpUrl", "fromUriString", "fromPath", "path", "pathSegment", "queryParam", "scheme", "host"):
        found[f"{_URI_BUILDER}.{name}"] = _URI_BUILDER
    for client in (
        "org.springframework.web.reactive.function.client.WebClient",
        "org.springframework.web.client.RestClient",
    ):
        found[f"{client}.create"] = client
        found |= {f"{client}.{verb}": f"{client}.Uri" for verb in ("get", "post", "put", "patch", "delete", "head")}
    for kind in ("Set", "List", "Map"):
        found |= {f"java.util.{kind}.{one}": f"java.util.{kind}" for one in ("of", "copyOf", "ofEntries")}
        found[f"com.google.common.collect.Immutable{kind}.of"] = f"com.google.common.collect.Immutable{kind}"
    found |= {"java.util.Arrays.asList": "java.util.List", "java.util.Map.keySet": "java.util.Set"}
    for enterprise in ("javax", "jakarta"):
        servlet, web = f"{enterprise}.servlet", f"{enterprise}.servlet.http"
        for response in (
            f"{servlet}.ServletResponse",
            f"{web}.HttpServletResponse",
            f"{web}.HttpServletResponseWrapper",
        ):
            found |= {f"{response}.getWriter": _WRITER, f"{response}.getOutputStream": _STREAM}
        for page in ("PageContext", "JspContext"):
            found[f"{servlet}.jsp.{page}.getOut"] = _WRITER
        for request in (f"{servlet}.ServletRequest", f"{web}.HttpServletRequest", f"{web}.HttpServletRequestWrapper"):
            texts = ("getParameter", "getHeader", "getQueryString", "getPathInfo", "getRequestURI", "getContextPath")
            found |= {f"{request}.{one}": "java.lang.String" for one in texts}
            found |= {
                f"{request}.getReader": "java.io.BufferedReader",
                f"{request}.getServletContext": f"{servlet}.ServletContext",
                f"{request}.getSession": f"{web}.HttpSession",
            }
        for holder in ("GenericServlet", "http.HttpServlet", "ServletConfig"):
            found[f"{servlet}.{holder}.getServletContext"] = f"{servlet}.ServletContext"
        found[f"{enterprise}.persistence.EntityManagerFactory.createEntityManager"] = (
            f"{enterprise}.persistence.EntityManager"
        )
        found[f"{enterprise}.ws.rs.client.ClientBuilder.newClient"] = f"{enterprise}.ws.rs.client.Client"
    return found


def _sinks() -> tuple[Sink, ...]:
    verbs = r"(?:get|post|patch)For(?:Object|Entity|Location)|exchange|execute|put|delete|headForHeaders"
    shell = r"\"(?:/usr)?(?:/bin/)?(?:(?:ba|z|da)?sh|cmd(?:\.exe)?)\""
    listed = r"(?:new\s+String\s*\[\s*\]\s*\{|(?:Arrays\.asList|List\.of)\()"
    return (
        _sink(
            "java-sql-injection",
            r"java\.sql\.\w*Statement\.(?:execute\w*|addBatch)|java\.sql\.Connection\.(?:prepare\w+|nativeSQL)"
            r"|\?\.(?:executeQuery|executeUpdate|prepareStatement|prepareCall|createNativeQuery|createSQLQuery)"
            rf"|{_EE}persistence\.EntityManager\.(?:createQuery|createNativeQuery)"
            r"|org\.hibernate\.\w*Session\w*\.create(?:Native|SQL|Mutation|NativeMutation|Selection)?Query"
            rf"|{_SPRING}jdbc\.core\.(?:\w+\.)*\w*Jdbc(?:Template|Operations)\.(?:query\w*|update|execute|batchUpdate)"
            rf"|{_SPRING}jdbc\.core\.simple\.JdbcClient\.sql|{_SPRING}r2dbc\.core\.DatabaseClient\.sql",
        ),
        _sink(
            "java-command-injection",
            r"java\.lang\.(?:Runtime\.exec|ProcessBuilder\.(?:new|command))|org\.apache\.commons\.exec\.CommandLine\.parse",
            arguments=rf"(?!\(\s*{listed})|\(\s*{listed}\s*{shell}",
        ),
        _sink(
            "java-command-injection",
            r"java\.lang\.ProcessBuilder\.(?:new|command)",
            position=None,
            arguments=rf"\(\s*{shell}",
        ),
        _sink(
            "java-code-injection",
            rf"{_EE}script\.(?:ScriptEngine\.eval|Compilable\.compile)|(?:[\w.]+\.)?Ognl\.(?:getValue|parseExpression)"
            rf"|{_SPRING}expression\.(?:\w+\.)*\w*ExpressionParser\.parse\w+|org\.mvel2?\.MVEL\.(?:eval|compile)\w*"
            r"|groovy\.lang\.GroovyShell\.(?:evaluate|parse)|java\.lang\.Class\.forName",
        ),
        _sink("java-code-injection", rf"{_EE}el\.ExpressionFactory\.createValueExpression", position=1),
        _sink("java-code-injection", r"org\.apache\.velocity\.app\.Velocity\w*\.evaluate", position=3),
        _sink(
            "java-xss",
            r"page\.(?:Writer|Stream)\.(?:print|println|write|append|printf|format)"
            rf"|{_EE}servlet\.(?:jsp\.JspWriter|ServletOutputStream)\.(?:print|println|write|append)",
            position=None,
        ),
        _sink(
            "java-ssrf",
            r"java\.net\.URL\.new|java\.net\.http\.HttpRequest\.newBuilder|java\.net\.http\.HttpRequest\.Builder\.uri"
            r"|org\.apache\.(?:http|hc)\.(?:\w+\.)*Http(?:Get|Post|Put|Delete|Patch|Head|Options)\.new"
            rf"|{_SPRING}web\.client\.Rest(?:Template|Operations)\.(?:{verbs})"
            r"|org\.springframework\.web\.(?:reactive\.function\.)?client\.(?:Web|Rest)Client\.Uri\.uri"
            r"|okhttp3\.Request\.Builder\.url|org\.jsoup\.Jsoup\.connect"
            rf"|{_EE}ws\.rs\.client\.Client\.target",
        ),
        _sink(
            "java-path-traversal",
            r"java\.io\.File\.new|java\.nio\.file\.(?:Paths\.get|Path\.of)",
            position=None,
        ),
        _sink(
            "java-path-traversal",
            r"java\.io\.(?:File(?:InputStream|OutputStream|Reader|Writer)|RandomAccessFile)\.new"
            rf"|java\.nio\.file\.Path\.resolve|{_SPRING}core\.io\.(?:FileSystem|Path)Resource\.new"
            rf"|{_SERVLET}(?:\w*Request\w*|ServletContext)\.getRequestDispatcher"
            rf"|{_SERVLET}ServletContext\.getResourceAsStream",
        ),
        _sink(
            "java-insecure-deserialization",
            r"java\.io\.ObjectInputStream\.new|java\.beans\.XMLDecoder\.new|[\w.]+\.XStream\.fromXML"
            r"|org\.yaml\.snakeyaml\.Yaml\.load\w*|[\w.]+\.SerializationUtils\.deserialize"
            r"|[\w.]+\.Kryo\.readClassAndObject",
        ),
        _sink(
            "java-xpath-injection",
            r"javax\.xml\.xpath\.XPath\.(?:evaluate|evaluateExpression|compile)"
            r"|org\.(?:dom4j|jdom2?)\.(?:\w+\.)*\w+\.(?:selectNodes|selectSingleNode)",
        ),
        _sink(
            "java-ldap-injection",
            rf"javax\.naming\.(?:\w+\.)?\w*Context\.search|{_SPRING}ldap\.core\.Ldap(?:Template|Operations)\.search\w*",
            position=1,
        ),
        _sink("java-ldap-injection", r"javax\.naming\.(?:\w+\.)?\w*Context\.lookup"),
        _sink(
            "java-open-redirect",
            rf"{_SERVLET}HttpServletResponse\w*\.sendRedirect|\?\.sendRedirect"
            rf"|{_SPRING}web\.servlet\.view\.RedirectView\.new"
            rf"|{_EE}ws\.rs\.core\.Response\.(?:seeOther|temporaryRedirect)",
        ),
        _sink(
            "java-open-redirect",
            rf"{_SERVLET}HttpServletResponse\w*\.(?:set|add)Header",
            position=1,
            arguments=r"\(\s*\"Location\"",
        ),
        _sink("java-open-redirect", rf"{_SPRING}web\.servlet\.ModelAndView\.new", arguments=r"\(\s*\"redirect:\"\s*\+"),
    )


def _sink(rule: str, name: str, *, position: int | None = 0, arguments: str | None = None) -> Sink:
    return Sink(rule, re.compile(name), position, re.compile(arguments) if arguments else None)


def _answers() -> tuple[JavaAnswer, ...]:
    return (
        JavaAnswer(
            "java-open-redirect",
            re.compile(r"(?:Request|Get|Post)Mapping"),
            re.compile("String"),
            re.compile(r"\"redirect:\"\s*\+"),
            re.compile(r"@ResponseBody\b"),
        ),
        JavaAnswer(
            "java-xss",
            re.compile(r"ResponseBody|RestController"),
            re.compile("String"),
            re.compile(""),
            re.compile(r"\bproduces\s*="),
        ),
    )
