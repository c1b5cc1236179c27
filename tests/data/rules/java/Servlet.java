package example;

import java.io.*;
import java.nio.file.*;
import java.security.*;
import java.sql.*;
import java.util.*;
import java.util.zip.*;
import javax.crypto.Cipher;
import javax.crypto.spec.SecretKeySpec;
import javax.naming.directory.DirContext;
import javax.servlet.http.*;
import javax.xml.parsers.*;

public class Servlet extends HttpServlet {
    private static final Map<String, String> PAGES = Map.of("home", "/home");

    void sql(HttpServletRequest request, Connection connection) throws Exception {
        String name = request.getParameter("name");
        Statement statement = connection.createStatement();
        String query = "SELECT * FROM people WHERE name = '" + name + "'";
        statement.executeQuery(query); // finds: java-sql-injection
        PreparedStatement safe = connection.prepareStatement("SELECT * FROM people WHERE name = ?");
        safe.setString(1, name);
        int number = Integer.parseInt(request.getParameter("number"));
        String limited = "SELECT * FROM people LIMIT " + number;
        statement.executeQuery(limited);
    }

    void stringly(Statement statement, String name) throws Exception {
        statement.executeQuery("SELECT * FROM people WHERE name = '" + name + "'"); // finds: java-sql-string
        statement.executeQuery("SELECT * FROM " + "people");
    }

    void command(HttpServletRequest request) throws Exception {
        Runtime.getRuntime().exec("ping " + request.getParameter("host")); // finds: java-command-injection
        new ProcessBuilder("ping", "-c", "1", "localhost").start();
        ScriptEngine engine = new ScriptEngineManager().getEngineByName("js");
        engine.eval(request.getParameter("source")); // finds: java-code-injection
        engine.eval("1 + 1");
    }

    void page(HttpServletRequest request, HttpServletResponse response) throws Exception {
        String name = request.getParameter("name");
        response.getWriter().println("<h1>" + name + "</h1>"); // finds: java-xss
        response.getWriter().println("<h1>" + HtmlUtils.htmlEscape(name) + "</h1>");
        response.sendRedirect(request.getParameter("next")); // finds: java-open-redirect
        response.sendRedirect(PAGES.get(request.getParameter("page")));
        new URL(request.getParameter("url")).openStream(); // finds: java-ssrf
        new URL("https://a.example").openStream();
        new File("/srv/" + name).delete(); // finds: java-path-traversal
        new File("/srv/" + FilenameUtils.getName(name)).delete();
        new ObjectInputStream(request.getInputStream()).readObject(); // finds: java-insecure-deserialization
        new ObjectMapper().readValue(request.getInputStream(), Person.class);
        request.getSession().setAttribute("role", request.getParameter("role")); // finds: java-trust-boundary
        request.getSession().setAttribute("colour", "red");
    }

    void stored(ObjectInputStream stream) throws Exception {
        stream.readObject(); // finds: java-unsafe-reader
        stream.readInt();
    }

    void unpack(InputStream stream, File folder) throws Exception {
        ZipInputStream zip = new ZipInputStream(stream);
        ZipEntry entry = zip.getNextEntry();
        File target = new File(folder, entry.getName()); // finds: java-zip-slip
        File safe = new File(folder, FilenameUtils.getName(entry.getName()));
    }

    void xml(InputStream stream) throws Exception {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance(); // finds: java-xxe
        factory.newDocumentBuilder().parse(stream);
    }

    void safeXml(InputStream stream) throws Exception {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setFeature("http://apache.org/xml/features/disallow-doctype-decl", true);
        factory.newDocumentBuilder().parse(stream);
    }

    void directory(HttpServletRequest request, DirContext context, XPath xpath, Object document) throws Exception {
        String who = request.getParameter("who");
        context.search("dc=a", "(uid=" + who + ")", new SearchControls()); // finds: java-ldap-injection
        context.search("dc=a", "(uid={0})", new Object[] {who}, new SearchControls());
        xpath.evaluate("//user[name='" + who + "']", document); // finds: java-xpath-injection
        xpath.evaluate("//user", document);
    }

    void trusting(HttpsURLConnection connection) {
        connection.setHostnameVerifier((host, session) -> true); // finds: java-tls-unverified
        connection.setHostnameVerifier(new DefaultHostnameVerifier());
    }

    void logged(String password, String user, Exception error, HttpServletResponse response) throws Exception {
        log.info("signed in with " + password); // finds: java-sensitive-exposure
        log.info("signed in {}", user);
        error.printStackTrace(response.getWriter()); // finds: java-error-exposed
        log.error("it failed", error);
    }

    void hidden(byte[] data, byte[] key) throws Exception {
        Cipher.getInstance("DES/CBC/PKCS5Padding"); // finds: java-weak-crypto
        Cipher.getInstance("AES/ECB/PKCS5Padding"); // finds: java-weak-crypto
        Cipher.getInstance("AES/GCM/NoPadding");
        MessageDigest.getInstance("MD5"); // finds: java-weak-hash
        MessageDigest.getInstance("SHA-256");
        new SecretKeySpec("a fixed text".getBytes(), "AES"); // finds: java-hardcoded-secret
        new SecretKeySpec(key, "AES");
    }

    void drawn() {
        String token = Long.toHexString(new Random().nextLong()); // finds: java-weak-random
        int colour = new Random().nextInt(3);
        String safeToken = Long.toHexString(new SecureRandom().nextLong());
    }

    void baked(HttpServletResponse response, String value) {
        Cookie cookie = new Cookie("session", value); // finds: java-insecure-cookie
        response.addCookie(cookie);
    }

    void bakedWell(HttpServletResponse response, String value) {
        Cookie cookie = new Cookie("session", value);
        cookie.setSecure(true);
        cookie.setHttpOnly(true);
        response.addCookie(cookie);
    }
}
