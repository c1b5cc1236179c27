package example;

import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.web.bind.annotation.*;

@RestController
public class Controller {
    private final JdbcTemplate jdbcTemplate;

    @GetMapping("/people")
    public Object people(@RequestParam("name") String name, @RequestParam int limit) {
        String query = "SELECT * FROM people WHERE name = '" + name + "'";
        String limited = "SELECT * FROM people LIMIT " + limit;
        jdbcTemplate.queryForList(limited);
        jdbcTemplate.queryForList("SELECT * FROM people WHERE name = ?", name);
        return jdbcTemplate.queryForList(query); // finds: java-sql-injection
    }

    @PostMapping("/next")
    public String next(@RequestParam String next) {
        return "redirect:" + next; // finds: java-open-redirect
    }

    void security(HttpSecurity http, CorsConfiguration cors) throws Exception {
        http.csrf().disable(); // finds: java-broken-authentication
        http.csrf().csrfTokenRepository(repository);
        http.sessionManagement().sessionFixation().none(); // finds: java-session-fixation
        http.sessionManagement().sessionFixation().migrateSession();
        http.headers().frameOptions().disable(); // finds: java-misconfiguration
        http.headers().frameOptions().deny();
        cors.addAllowedOrigin("*"); // finds: java-cors
        cors.addAllowedOrigin("https://a.example");
    }
}
